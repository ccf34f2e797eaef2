{{ config(indexes=[{"columns": ["market", "instrument_id"], "unique": true}, {"columns": ["market", "dip_rank"]}]) }}

-- The latest session is the regime's, not the dips': on a day without dips the board is empty, not a day old.
with latest as (
    select distinct on (market)
        market,
        session,
        regime,
        environment
    from {{ ref("stg_market_regime") }}
    order by market, session desc
),

memberships as (
    select
        market,
        session,
        instrument_id,
        string_agg(universe, ',' order by universe) as universes
    from {{ ref("stg_universe_members") }}
    group by market, session, instrument_id
)

select
    dips.market,
    dips.session,
    row_number() over (partition by dips.market order by dips.dip_pct desc, dips.instrument_id) as dip_rank,
    row_number() over (
        partition by dips.market, dips.sector order by dips.dip_pct desc, dips.instrument_id
    ) as dip_rank_in_sector,
    dips.ticker,
    dips.instrument_id,
    memberships.universes,
    dips.sector,
    dips.price,
    dips.high_252,
    dips.dip_pct,
    dips.threshold_pct,
    dips.sessions_since_high,
    dips.drawdown_percentile,
    dips.fall,
    dips.market_part,
    dips.sector_part,
    dips.company_part,
    -- The part that pulled down the most; null where the fall could not be split or nothing pulled it down.
    case
        when least(dips.market_part, dips.sector_part, dips.company_part) >= 0 then null
        when dips.company_part <= least(dips.market_part, dips.sector_part) then 'company'
        when dips.sector_part <= least(dips.market_part, dips.company_part) then 'sector'
        when dips.market_part <= least(dips.sector_part, dips.company_part) then 'market'
    end as main_cause,
    dips.verdict,
    dips.total,
    dips.grade,
    dips.gates_failed,
    dips.sessions_to_report,
    dips.on_desk,
    dips.cause,
    dips.cause_share,
    dips.evidence,
    words.action,
    words.size_low,
    words.size_high,
    words.size_low_amount,
    words.size_high_amount,
    words.why,
    words.outlook,
    words.play,
    words.risks,
    words.source,
    latest.regime,
    latest.environment,
    dips.data_quality,
    versions.first_published_at,
    versions.versions,
    dips.computed_at
from latest
inner join {{ ref("stg_dip_opportunities") }} as dips
    on latest.market = dips.market and latest.session = dips.session
left join memberships
    on dips.market = memberships.market
    and dips.session = memberships.session
    and dips.instrument_id = memberships.instrument_id
left join {{ ref("stg_dip_versions") }} as versions
    on dips.market = versions.market
    and dips.session = versions.session
    and dips.instrument_id = versions.instrument_id
left join {{ ref("stg_dip_analysis") }} as words
    on dips.market = words.market
    and dips.session = words.session
    and dips.instrument_id = words.instrument_id
