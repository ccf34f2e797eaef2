{{ config(meta={"description": "An article is shown on the session on which it could first be read, never before.", "dagster": {"ref": {"name": "stg_news"}}}) }}

select market, session, instrument_id, article_id, available_at
from {{ ref("stg_news") }}
where (available_at at time zone 'UTC')::date > session or copies < 1
