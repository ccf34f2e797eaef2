{{ config(meta={"description": "The weights of the five components are shares of one total.", "dagster": {"ref": {"name": "stg_screener_scores"}}}) }}

select market, session, instrument_id
from {{ ref("stg_screener_scores") }}
where abs(
    weight_fundamental + weight_technical + weight_relative_strength + weight_sector + weight_catalyst - 1
) > 1e-6
