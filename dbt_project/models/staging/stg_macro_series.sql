select
    market,
    session,
    series,
    instrument_id,
    ticker,
    value,
    change_1,
    change_21,
    percentile_252
from {{ source("warehouse", "macro_series") }}
