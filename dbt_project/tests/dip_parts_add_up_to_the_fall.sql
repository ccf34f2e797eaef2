{{ config(meta={"description": "Market, sector and company parts are the whole fall, nothing left over.", "dagster": {"ref": {"name": "stg_dip_opportunities"}}}) }}

select market, session, instrument_id, fall, market_part, sector_part, company_part
from {{ ref("stg_dip_opportunities") }}
where abs(fall - (market_part + sector_part + company_part)) > 1e-6
