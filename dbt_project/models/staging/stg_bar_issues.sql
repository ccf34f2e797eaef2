select
    market,
    session,
    instrument_id,
    ticker,
    bar_session,
    rule,
    severity,
    detail,
    provider
from {{ source("warehouse", "bar_issues") }}
