select
    market,
    session,
    universe,
    instrument_id,
    ticker,
    sector,
    source
from {{ source("warehouse", "universe_members") }}
