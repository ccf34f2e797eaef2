{{ config(meta={"description": "Words are about a dip on the desk, and about the cause that was found for it.", "dagster": {"ref": {"name": "stg_dip_analysis"}}}) }}

select words.market, words.session, words.instrument_id, words.cause, dips.cause as cause_found
from {{ ref("stg_dip_analysis") }} as words
left join {{ ref("stg_dip_opportunities") }} as dips
    on words.market = dips.market
    and words.session = dips.session
    and words.instrument_id = dips.instrument_id
where dips.on_desk is not true or words.cause is distinct from dips.cause
