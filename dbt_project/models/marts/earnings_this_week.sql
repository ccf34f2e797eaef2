{{ config(indexes=[{"columns": ["market", "instrument_id"], "unique": true}, {"columns": ["market", "next_report_date"]}]) }}

with latest as (
    select distinct on (market)
        market,
        session,
        environment
    from {{ ref("stg_market_regime") }}
    order by market, session desc
),

-- The calendar may speak of more than the members; an instrument in several universes is one member here.
members as (
    select distinct
        market,
        session,
        instrument_id
    from {{ ref("stg_universe_members") }}
)

select
    earnings.market,
    earnings.session,
    case
        when earnings.next_report_date < date_trunc('week', earnings.session)::date + 7 then 'this week'
        else 'next week'
    end as week,
    earnings.next_report_date,
    earnings.next_timing,
    earnings.sessions_to_report,
    earnings.ticker,
    earnings.instrument_id,
    scores.sector,
    scores.market_cap,
    scores.verdict,
    scores.total,
    scores.grade,
    dips.dip_pct,
    earnings.eps_estimate,
    earnings.revenue_estimate,
    earnings.reports,
    earnings.beat_rate,
    earnings.average_move_after_beat,
    earnings.average_move_after_miss,
    earnings.average_absolute_move,
    earnings.sources,
    earnings.disagreement,
    latest.environment
from latest
inner join {{ ref("stg_earnings_calendar") }} as earnings
    on latest.market = earnings.market and latest.session = earnings.session
inner join members
    on earnings.market = members.market
    and earnings.session = members.session
    and earnings.instrument_id = members.instrument_id
left join {{ ref("stg_screener_scores") }} as scores
    on earnings.market = scores.market
    and earnings.session = scores.session
    and earnings.instrument_id = scores.instrument_id
left join {{ ref("stg_dip_opportunities") }} as dips
    on earnings.market = dips.market
    and earnings.session = dips.session
    and earnings.instrument_id = dips.instrument_id
-- Weeks begin on Monday: the days left of the session's own, and the whole of the one after it.
where earnings.next_report_date between earnings.session and date_trunc('week', earnings.session)::date + 13
