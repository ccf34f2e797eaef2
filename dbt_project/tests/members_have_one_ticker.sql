{{ config(meta={"description": "An instrument trades under one ticker on a session, whatever universe it is listed in.", "dagster": {"ref": {"name": "stg_universe_members"}}}) }}

select market, session, instrument_id, count(distinct ticker) as tickers
from {{ ref("stg_universe_members") }}
group by market, session, instrument_id
having count(distinct ticker) > 1
