{{ config(meta={"description": "A dip rests on a bar of its own session that is not bad.", "dagster": {"ref": {"name": "stg_dip_opportunities"}}}) }}

select dips.market, dips.session, dips.instrument_id
from {{ ref("stg_dip_opportunities") }} as dips
left join {{ ref("stg_market_data") }} as bars
    on dips.market = bars.market
    and dips.session = bars.session
    and dips.instrument_id = bars.instrument_id
    and bars.data_quality <> 'bad'
where bars.instrument_id is null
