"""Group `reports`: a page about each name that matters on a session."""

import dagster as dg

from trading_pipeline.assets.common import OWNERS, WORLD, key_of, report, run_sessions, world_of
from trading_pipeline.assets.reports import GROUP
from trading_pipeline.markets import Market
from trading_pipeline.partitions import session_partitions

NAME = "tearsheets"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The tearsheets of a market."""

    @dg.asset(
        name=NAME,
        key_prefix=market.name,
        deps=[
            key_of(market, name)
            for name in (
                *("universe_members", "daily_bars", "corporate_actions", "indicators", "market_regime"),
                *("fundamentals", "earnings_calendar", "news"),
                *("screener_scores", "dip_opportunities", "dip_analysis"),
            )
        ],
        group_name=GROUP,
        kinds={"html"},
        owners=OWNERS,
        code_version="1",
        description=(
            "A page about each leader, each dip on the desk and each watched name: the decision gate by gate, what "
            "would change it, valuation beside its peers, risks, events and the price with the dip marked."
        ),
        partitions_def=session_partitions(market),
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def tearsheets(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.reports.tearsheets import tearsheet_pages
        from trading_pipeline.storage import files

        world = world_of(context)
        sessions = run_sessions(context)
        address, written = "", 0
        for done, session in enumerate(sessions, start=1):
            # The index comes last: it never names a page that is not there.
            for place, page in tearsheet_pages(world, market, session).items():
                address = files.put_text(world.settings, place, page)
                written += 1
            world.progress(f"{market.name}/{NAME}", done, len(sessions))
        index = dg.MetadataValue.url(address)
        return dg.MaterializeResult(metadata=report(context, market, NAME, {"index": index, "pages": written}))

    return [tearsheets]
