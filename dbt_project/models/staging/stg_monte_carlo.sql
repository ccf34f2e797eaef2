select
    market,
    configuration,
    method,
    measure,
    last_session,
    paths,
    mean,
    p05,
    p25,
    p50,
    p75,
    p95
from {{ source("warehouse", "monte_carlo") }}
