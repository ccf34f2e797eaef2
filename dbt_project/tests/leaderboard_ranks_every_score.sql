{{ config(meta={"description": "Everyone scored on the latest session is ranked, from 1 on without a gap.", "dagster": {"ref": {"name": "leaderboard"}}}) }}

with scored as (
    select market, session, count(*) as members
    from {{ ref("stg_screener_scores") }}
    group by market, session
),

ranked as (
    select market, session, count(*) as members, min(leader_rank) as first, max(leader_rank) as last
    from {{ ref("leaderboard") }}
    group by market, session
)

select ranked.market, ranked.session, ranked.members, ranked.first, ranked.last, scored.members as scored
from ranked
left join scored on ranked.market = scored.market and ranked.session = scored.session
where ranked.first <> 1 or ranked.last <> ranked.members or scored.members is distinct from ranked.members
