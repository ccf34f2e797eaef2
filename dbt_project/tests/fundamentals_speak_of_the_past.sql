{{ config(meta={"description": "A snapshot speaks of its session or an earlier one, and its age says how far back.", "dagster": {"ref": {"name": "stg_fundamentals"}}}) }}

select market, session, instrument_id, snapshot_session, age
from {{ ref("stg_fundamentals") }}
where snapshot_session > session or age < 0 or (age = 0) <> (snapshot_session = session)
