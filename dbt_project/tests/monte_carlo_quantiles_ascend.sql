{{ config(meta={"description": "Quantiles ascend, and what is a probability is one.", "dagster": {"ref": {"name": "stg_monte_carlo"}}}) }}

select market, configuration, method, measure, mean, p05, p25, p50, p75, p95
from {{ ref("stg_monte_carlo") }}
where
    p05 > p25 or p25 > p50 or p50 > p75 or p75 > p95
    or (measure in ('loss', 'ruin') and (mean is null or mean < 0 or mean > 1))
