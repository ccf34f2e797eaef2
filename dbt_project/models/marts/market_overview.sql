{{ config(indexes=[{"columns": ["market", "session"], "unique": true}]) }}

with deepest_first as (
    select
        market,
        session,
        threshold_pct,
        count(*) as at_threshold
    from {{ ref("stg_dip_opportunities") }}
    group by market, session, threshold_pct
),

-- A dip has passed every threshold up to its own, so the counts add up from the deepest.
passed as (
    select
        market,
        session,
        threshold_pct,
        sum(at_threshold) over (
            partition by market, session order by threshold_pct desc
        ) as dips
    from deepest_first
),

by_threshold as (
    select
        market,
        session,
        jsonb_object_agg(trim_scale(threshold_pct::numeric)::text, dips) as dips_by_threshold
    from passed
    group by market, session
),

dips as (
    select
        market,
        session,
        count(*) as dips,
        max(dip_pct) as deepest_dip_pct,
        percentile_cont(0.5) within group (order by dip_pct) as median_dip_pct
    from {{ ref("stg_dip_opportunities") }}
    group by market, session
)

select
    regime.market,
    regime.session,
    regime.regime,
    regime.environment,
    lag(regime.environment) over (
        partition by regime.market order by regime.session
    ) as previous_environment,
    regime.score,
    regime.benchmark,
    regime.index_vs_sma_50,
    regime.index_vs_sma_200,
    regime.breadth_50,
    regime.breadth_200,
    regime.new_highs,
    regime.new_lows,
    regime.new_highs - regime.new_lows as net_new_highs,
    regime.volatility,
    regime.volatility_source,
    regime.distribution_days,
    regime.members,
    coalesce(dips.dips, 0) as dips,
    coalesce(by_threshold.dips_by_threshold, '{}'::jsonb) as dips_by_threshold,
    dips.deepest_dip_pct,
    dips.median_dip_pct,
    regime.reasons,
    regime.computed_at
from {{ ref("stg_market_regime") }} as regime
left join dips on regime.market = dips.market and regime.session = dips.session
left join by_threshold on regime.market = by_threshold.market and regime.session = by_threshold.session
