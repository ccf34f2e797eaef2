{{ config(meta={"description": "Whatever has no total has no verdict, and nothing that fails a gate is a Buy.", "dagster": {"ref": {"name": "stg_screener_scores"}}}) }}

select market, session, instrument_id, total, verdict, gates_failed
from {{ ref("stg_screener_scores") }}
where
    (total is null) <> (verdict = 'No verdict')
    or gates_passed <> (gates_failed = '')
    or (verdict in ('Strong Buy', 'Buy') and gates_failed <> '')
