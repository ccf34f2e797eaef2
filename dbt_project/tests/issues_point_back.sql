{{ config(meta={"description": "An issue is seen on the session of the bar at fault or later, never before.", "dagster": {"ref": {"name": "stg_bar_issues"}}}) }}

select market, session, instrument_id, bar_session, rule
from {{ ref("stg_bar_issues") }}
where bar_session > session
