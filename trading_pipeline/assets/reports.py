"""Group `reports`: the pages people look at."""

import dagster as dg

from trading_pipeline.assets.common import OWNERS, WORLD, key_of, report, run_sessions, world_of
from trading_pipeline.markets import Market
from trading_pipeline.partitions import session_partitions

GROUP = "reports"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The report assets of a market."""

    @dg.asset(
        name="daily_briefing",
        key_prefix=market.name,
        deps=[
            key_of(market, name)
            for name in (
                *("universe_members", "daily_bars", "corporate_actions", "bar_issues"),
                *("indicators", "market_regime", "dip_opportunities"),
                *("fundamentals", "earnings_calendar", "news", "screener_scores", "dip_analysis", "tearsheets"),
            )
        ],
        group_name=GROUP,
        kinds={"html"},
        owners=OWNERS,
        code_version="2",
        description=(
            "The day on one page: the environment and why, the leaderboard, the dip desk, the reports ahead, what is "
            "down and whose fault that is, what was quarantined. "
            "Opens without a network, on a phone too. On the last session of a week it looks back on the week."
        ),
        partitions_def=session_partitions(market),
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def daily_briefing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.reports.daily import NAME, briefing_page, place_of
        from trading_pipeline.storage import files

        world = world_of(context)
        sessions = run_sessions(context)
        address = ""
        for done, session in enumerate(sessions, start=1):
            page = briefing_page(world, market, session)
            address = files.put_text(world.settings, place_of(market, session), page)
            world.progress(f"{market.name}/{NAME}", done, len(sessions))
        link = dg.MetadataValue.url(address)
        return dg.MaterializeResult(metadata=report(context, market, NAME, {"briefing": link, "pages": len(sessions)}))

    return [daily_briefing]
