{{ config(meta={"description": "Only a buy has a size, and its range begins at its low end.", "dagster": {"ref": {"name": "stg_dip_analysis"}}}) }}

select market, session, instrument_id, action, size_low, size_high, size_low_amount, size_high_amount
from {{ ref("stg_dip_analysis") }}
where
    size_low > size_high
    or size_low_amount > size_high_amount
    or (action <> 'buy' and greatest(size_high, size_high_amount) > 0)
