"""The results of backtests for a terminal: all of them in a line each, or one with every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trading_pipeline.backtesting.results import latest_results
from trading_pipeline.markets import Market
from trading_pipeline.reports.backtests.gather import folder_of, place_of
from trading_pipeline.research.performance.measures import METRICS, Metric
from trading_pipeline.storage import files
from trading_pipeline.world import World

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = ("total_return", "cagr", "sharpe", "maximum_drawdown", "trades", "win_rate", "deflated_sharpe")


def summary(world: World, market: Market, configuration: str | None = None) -> RenderableType:
    """The latest results of a market, the best Sharpe ratio first; or of one configuration, metric by metric."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = list(latest_results(world, market).iter_rows(named=True))
    if configuration is not None:
        rows = [row for row in rows if row["configuration"] == configuration]
        if not rows:
            return Text(f"{configuration}: there is no result.")
        page = place_of(market, configuration)
        told = f"{world.settings.lake_root}/{page}" if files.has_file(world.settings, page) else "none was written"
        return Group(_headline(market, rows[0]), _metrics(rows[0]), *_warnings(rows), _listed("Page", told))
    if not rows:
        return Text("No configuration was backtested.")
    table = Table(title=f"Backtests, {market.name}, to {max(row['session'] for row in rows)}", title_justify="left")
    known = {metric.name: metric for metric in METRICS}
    table.add_column("Configuration")
    for name in COLUMNS:
        table.add_column(known[name].title, justify="right")
    for row in sorted(rows, key=lambda row: (-(row["sharpe"] if row["sharpe"] is not None else -1e9), row["title"])):
        table.add_row(row["configuration"], *(worded(known[name], row[name]) for name in COLUMNS))
    pages = set(files.names_in(world.settings, folder_of(market)))
    named = [row["configuration"] for row in rows if f"{row['configuration']}.html" in pages]
    told = f"{world.settings.lake_root}/{folder_of(market)}/" if named else "none was written"
    if 0 < len(named) < len(rows):
        told += f" ({', '.join(named)})"
    return Group(table, *_warnings(rows), _listed("Pages", told))


def worded(metric: Metric, value: Any) -> str:
    """A metric's value for a person; a dash where it is not defined."""
    if value is None:
        return "–"
    if metric.unit in ("fraction", "probability"):
        return f"{100 * value:.1f} %"
    if metric.unit == "money":
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _headline(market: Market, row: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    title = row["title"] or row["configuration"]
    return Text(
        f"{title}: {row['first_session']} to {row['session']}, {row['capital']:,.0f} became {row['equity']:,.2f} "
        f"{market.currency}"
    )


def _metrics(row: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column("Metric")
    table.add_column("Value", justify="right")
    table.add_column("Meaning")
    for metric in METRICS:
        if metric.unit != "row":
            table.add_row(metric.title, worded(metric, row[metric.name]), metric.description)
    return table


def _listed(label: str, text: str) -> RenderableType:
    from rich.text import Text

    return Text.assemble((f"{label:<10}", "bold"), text)


def _warnings(rows: list[dict[str, Any]]) -> list[RenderableType]:
    from rich.text import Text

    told = [(row["configuration"], row["watermark"]) for row in rows if row["watermark"]]
    told += [
        (row["configuration"], f"Revised: its account differs from what it was before, from {row['revised_from']} on.")
        for row in rows
        if row["revised_from"]
    ]
    return [Text(f"{name}: {words}") for name, words in told]
