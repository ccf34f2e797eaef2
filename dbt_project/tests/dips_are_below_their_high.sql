{{ config(meta={"description": "A dip is a price below its 52-week high, and dip_pct says by how much.", "dagster": {"ref": {"name": "stg_dip_opportunities"}}}) }}

select market, session, instrument_id, price, high_252, dip_pct
from {{ ref("stg_dip_opportunities") }}
where price >= high_252 or abs((1 - price / high_252) * 100 - dip_pct) > 0.01
