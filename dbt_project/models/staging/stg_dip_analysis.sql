select
    market,
    session,
    instrument_id,
    ticker,
    dip_pct,
    cause,
    action,
    action_reasons,
    size_low,
    size_high,
    size_low_amount,
    size_high_amount,
    why,
    outlook,
    play,
    risks,
    source,
    source_reason,
    model,
    cost,
    computed_at
from {{ source("warehouse", "dip_analysis_latest") }}
where not withdrawn
