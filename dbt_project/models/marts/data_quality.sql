{{ config(indexes=[{"columns": ["market", "session"], "unique": true}]) }}

with bars as (
    select
        market,
        session,
        count(*) as bars,
        count(*) filter (where data_quality = 'good') as good_bars,
        count(*) filter (where data_quality = 'suspect') as suspect_bars,
        count(*) filter (where data_quality = 'bad') as bad_bars
    from {{ ref("stg_market_data") }}
    group by market, session
),

rules as (
    select
        market,
        session,
        rule,
        count(*) as issues,
        count(*) filter (where severity = 'suspect') as suspect_issues,
        count(*) filter (where severity = 'bad') as bad_issues,
        count(*) filter (where severity = 'rejected') as rejected_issues
    from {{ ref("stg_bar_issues") }}
    group by market, session, rule
),

issues as (
    select
        market,
        session,
        sum(issues)::bigint as issues,
        sum(suspect_issues)::bigint as suspect_issues,
        sum(bad_issues)::bigint as bad_issues,
        sum(rejected_issues)::bigint as rejected_issues,
        jsonb_object_agg(rule, issues order by rule) as issues_by_rule
    from rules
    group by market, session
),

-- An instrument in several universes is one member here.
members as (
    select distinct
        market,
        session,
        instrument_id
    from {{ ref("stg_universe_members") }}
),

coverage as (
    select
        members.market,
        members.session,
        count(*) as members,
        count(bars.instrument_id) as members_with_bar
    from members
    left join {{ ref("stg_market_data") }} as bars
        on members.market = bars.market
        and members.session = bars.session
        and members.instrument_id = bars.instrument_id
        and bars.data_quality <> 'bad'
    group by members.market, members.session
),

-- A session without bars or without members still has a row: that is when one looks here.
sessions as (
    select market, session from bars
    union
    select market, session from issues
    union
    select market, session from coverage
)

select
    sessions.market,
    sessions.session,
    coalesce(bars.bars, 0) as bars,
    coalesce(bars.good_bars, 0) as good_bars,
    coalesce(bars.suspect_bars, 0) as suspect_bars,
    coalesce(bars.bad_bars, 0) as bad_bars,
    round(bars.suspect_bars::numeric / bars.bars, 6) as suspect_share,
    round(bars.bad_bars::numeric / bars.bars, 6) as bad_share,
    coalesce(issues.issues, 0) as issues,
    coalesce(issues.suspect_issues, 0) as suspect_issues,
    coalesce(issues.bad_issues, 0) as bad_issues,
    coalesce(issues.rejected_issues, 0) as rejected_issues,
    coalesce(issues.issues_by_rule, '{}'::jsonb) as issues_by_rule,
    coalesce(coverage.members, 0) as members,
    coalesce(coverage.members_with_bar, 0) as members_with_bar,
    round(coverage.members_with_bar::numeric / coverage.members, 6) as coverage
from sessions
left join bars on sessions.market = bars.market and sessions.session = bars.session
left join issues on sessions.market = issues.market and sessions.session = issues.session
left join coverage on sessions.market = coverage.market and sessions.session = coverage.session
