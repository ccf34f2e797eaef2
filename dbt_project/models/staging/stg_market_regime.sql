select
    market,
    session,
    regime,
    environment,
    score,
    benchmark,
    index_vs_sma_50,
    index_vs_sma_200,
    breadth_50,
    breadth_200,
    new_highs,
    new_lows,
    volatility,
    volatility_source,
    distribution_days,
    members,
    reasons,
    computed_at
from {{ source("warehouse", "market_regime_latest") }}
where not withdrawn
