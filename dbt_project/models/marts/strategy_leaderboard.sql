{{ config(indexes=[{"columns": ["market", "configuration"], "unique": true}, {"columns": ["market", "strategy_rank"]}]) }}

with results as (
    select distinct on (market, configuration) *
    from {{ ref("stg_backtests") }}
    order by market, configuration, session desc
),

-- Windows of which the Sharpe ratio is not defined, for nothing was traded, count among the windows alone.
walked as (
    select
        market,
        configuration,
        count(*) as windows,
        avg(train_sharpe) as mean_train_sharpe,
        avg(test_sharpe) as mean_test_sharpe,
        percentile_cont(0.5) within group (order by test_sharpe) as median_test_sharpe,
        avg((test_return > 0)::int)::double precision as profitable_share,
        max(test_last) as last_test
    from {{ ref("stg_walk_forward") }}
    group by market, configuration
),

simulated as (
    select
        market,
        configuration,
        last_session,
        max(mean) filter (where measure = 'loss') as probability_of_loss,
        max(p05) filter (where measure = 'maximum_drawdown') as drawdown_p05,
        max(p05) filter (where measure = 'final_return') as final_return_p05
    from {{ ref("stg_monte_carlo") }}
    where method = 'blocks'
    group by market, configuration, last_session
),

nearest as (
    select distinct on (market, configuration)
        market,
        configuration,
        other,
        correlation
    from {{ ref("stg_strategy_comparison") }}
    where correlation is not null
    order by market, configuration, correlation desc, other
)

select
    results.market,
    row_number() over (
        partition by results.market
        order by results.deflated_sharpe desc nulls last, results.sharpe desc nulls last, results.configuration
    ) as strategy_rank,
    results.configuration,
    results.title,
    results.strategy,
    results.universe,
    results.sized_by,
    results.parameters,
    results.first_session,
    results.session,
    -- Of a configuration whose file is gone, or whose runs fail, the last result stands.
    results.session = max(results.session) over (partition by results.market) as is_current,
    results.capital,
    results.equity,
    results.total_return,
    results.cagr,
    results.volatility,
    results.sharpe,
    results.deflated_sharpe,
    results.trials,
    results.sortino,
    results.calmar,
    results.maximum_drawdown,
    results.longest_drawdown_sessions,
    results.conditional_value_at_risk_95,
    results.trades,
    results.win_rate,
    results.profit_factor,
    results.exposure,
    results.turnover,
    results.fees + results.slippage + results.debits as costs,
    results.alpha,
    results.beta,
    results.information_ratio,
    coalesce(walked.windows, 0) as walk_forward_windows,
    walked.mean_train_sharpe as walk_forward_mean_train_sharpe,
    walked.mean_test_sharpe as walk_forward_mean_sharpe,
    walked.median_test_sharpe as walk_forward_median_sharpe,
    walked.profitable_share as walk_forward_profitable_share,
    walked.last_test as walk_forward_last_session,
    simulated.probability_of_loss,
    simulated.drawdown_p05,
    simulated.final_return_p05,
    nearest.other as nearest_configuration,
    nearest.correlation as nearest_correlation,
    results.coverage,
    results.least_coverage,
    results.watermark,
    results.revised_from,
    results.configuration_hash,
    results.code_version,
    results.data_as_of,
    results.computed_at
from results
left join walked
    on results.market = walked.market and results.configuration = walked.configuration
left join simulated
    on results.market = simulated.market
    and results.configuration = simulated.configuration
    -- What resamples an earlier result says nothing of this one.
    and results.session = simulated.last_session
left join nearest
    on results.market = nearest.market and results.configuration = nearest.configuration
