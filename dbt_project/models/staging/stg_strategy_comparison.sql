-- A pair is stored once; here it is seen from either side.
with pairs as (
    select
        market,
        configuration,
        other,
        last_session,
        sessions,
        correlation,
        sharpe_difference,
        p_value
    from {{ source("warehouse", "strategy_comparison") }}
)

select * from pairs
union all
select
    market,
    other as configuration,
    configuration as other,
    last_session,
    sessions,
    correlation,
    -sharpe_difference as sharpe_difference,
    p_value
from pairs
