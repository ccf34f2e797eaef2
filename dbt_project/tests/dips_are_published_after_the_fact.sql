{{ config(meta={"description": "A dip is published on its session or later, never before the session began.", "dagster": {"ref": {"name": "stg_dip_versions"}}}) }}

select market, session, instrument_id, first_published_at
from {{ ref("stg_dip_versions") }}
where first_published_at < session
