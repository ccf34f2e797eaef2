{{ config(meta={"description": "The total return is the gain on the capital, over sessions that end where the result does.", "dagster": {"ref": {"name": "stg_backtests"}}}) }}

select market, configuration, session, capital, equity, total_return
from {{ ref("stg_backtests") }}
where
    first_session > session
    or revised_from > session
    or abs(total_return - (equity / capital - 1)) > 1e-6 * greatest(1, abs(total_return))
