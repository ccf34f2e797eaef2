{{ config(meta={"description": "Every configuration with a result is ranked, from 1 on without a gap.", "dagster": {"ref": {"name": "strategy_leaderboard"}}}) }}

with computed as (
    select market, count(distinct configuration) as configurations
    from {{ ref("stg_backtests") }}
    group by market
),

ranked as (
    select market, count(*) as configurations, min(strategy_rank) as first, max(strategy_rank) as last
    from {{ ref("strategy_leaderboard") }}
    group by market
)

select computed.market, computed.configurations as computed, ranked.configurations, ranked.first, ranked.last
from computed
full join ranked on computed.market = ranked.market
where
    ranked.first is distinct from 1
    or ranked.last is distinct from ranked.configurations
    or ranked.configurations is distinct from computed.configurations
