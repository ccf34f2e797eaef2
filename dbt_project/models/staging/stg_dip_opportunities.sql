select
    market,
    session,
    instrument_id,
    ticker,
    sector,
    price,
    high_252,
    dip_pct,
    threshold_pct,
    sessions_since_high,
    drawdown_percentile,
    fall,
    market_part,
    sector_part,
    company_part,
    beta_market,
    beta_sector,
    data_quality,
    computed_at
from {{ source("warehouse", "dip_opportunities_latest") }}
where not withdrawn
