{{ config(meta={"description": "No strategy is ranked before one whose deflated Sharpe ratio is higher.", "dagster": {"ref": {"name": "strategy_leaderboard"}}}) }}

select better.market, better.configuration, worse.configuration as ranked_before
from {{ ref("strategy_leaderboard") }} as better
inner join {{ ref("strategy_leaderboard") }} as worse
    on better.market = worse.market and worse.strategy_rank < better.strategy_rank
where better.deflated_sharpe > coalesce(worse.deflated_sharpe, -1)
