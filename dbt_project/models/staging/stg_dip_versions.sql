-- How often each dip was published, and when first: a revision of a bar adds a version, it never replaces one.
select
    market,
    session,
    instrument_id,
    min(computed_at) as first_published_at,
    count(*) as versions
from {{ source("warehouse", "dip_opportunities") }}
where not withdrawn
group by market, session, instrument_id
