select
    market,
    date as session,
    instrument_id,
    ticker,
    open,
    high,
    low,
    close,
    volume,
    source as provider,
    data_quality
from {{ source("warehouse", "market_data") }}
