{{ config(meta={"description": "Every session that has a dip was judged, and the overview counts all of its dips.", "dagster": {"ref": {"name": "market_overview"}}}) }}

with dips as (
    select market, session, count(*) as dips
    from {{ ref("stg_dip_opportunities") }}
    group by market, session
)

select dips.market, dips.session, dips.dips, overview.dips as counted
from dips
left join {{ ref("market_overview") }} as overview
    on dips.market = overview.market and dips.session = overview.session
where overview.dips is distinct from dips.dips
