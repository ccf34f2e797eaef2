{{ config(indexes=[{"columns": ["market", "instrument_id"], "unique": true}, {"columns": ["market", "leader_rank"]}]) }}

-- The latest session is the regime's, not the scores': where that session was not scored the board is empty, not a day
-- old.
with latest as (
    select distinct on (market)
        market,
        session,
        regime,
        environment
    from {{ ref("stg_market_regime") }}
    order by market, session desc
),

-- A verdict comes before a total: what fails a gate is capped, however many points it has.
places as (
    select *
    from (
        values ('Strong Buy', 1), ('Buy', 2), ('Hold', 3), ('Avoid', 4), ('No verdict', 5)
    ) as places (verdict, place)
)

select
    scores.market,
    scores.session,
    row_number() over (
        partition by scores.market
        order by places.place, round(scores.total::numeric, 6) desc nulls last, scores.instrument_id
    ) as leader_rank,
    scores.ticker,
    scores.instrument_id,
    fundamentals.name,
    scores.asset_type,
    scores.universes,
    scores.sector,
    fundamentals.industry,
    scores.price,
    scores.market_cap,
    scores.verdict,
    scores.total,
    scores.grade,
    scores.confidence,
    scores.fundamental,
    scores.technical,
    scores.relative_strength,
    scores.sector_score,
    scores.catalyst,
    scores.gates_passed,
    scores.gates_failed,
    scores.flags,
    scores.sector_percentile,
    scores.size_bucket,
    scores.size_percentile,
    scores.dcf_value,
    scores.dcf_upside,
    scores.next_verdict,
    scores.points_to_next,
    earnings.next_report_date,
    earnings.next_timing,
    earnings.sessions_to_report,
    dips.dip_pct,
    latest.regime,
    latest.environment,
    scores.reasons,
    scores.rules_version,
    scores.data_quality,
    scores.computed_at
from latest
inner join {{ ref("stg_screener_scores") }} as scores
    on latest.market = scores.market and latest.session = scores.session
left join places
    on scores.verdict = places.verdict
left join {{ ref("stg_fundamentals") }} as fundamentals
    on scores.market = fundamentals.market
    and scores.session = fundamentals.session
    and scores.instrument_id = fundamentals.instrument_id
left join {{ ref("stg_earnings_calendar") }} as earnings
    on scores.market = earnings.market
    and scores.session = earnings.session
    and scores.instrument_id = earnings.instrument_id
left join {{ ref("stg_dip_opportunities") }} as dips
    on scores.market = dips.market
    and scores.session = dips.session
    and scores.instrument_id = dips.instrument_id
