{{ config(meta={"description": "The latest report and its reaction were known on the session, and the next one is yet to trade.", "dagster": {"ref": {"name": "stg_earnings_calendar"}}}) }}

select market, session, instrument_id, last_report_date, last_report_session, next_report_date
from {{ ref("stg_earnings_calendar") }}
where
    last_report_session > session
    or last_report_date > last_report_session
    or last_report_date > next_report_date
