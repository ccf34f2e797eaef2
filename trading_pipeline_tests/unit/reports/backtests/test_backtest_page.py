"""The page of a configuration: every part of it shows what the tables say, and says where there is nothing to show."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from trading_pipeline.markets import ASX, US
from trading_pipeline.reports.backtests import BacktestInputs, backtest_page, place_of
from trading_pipeline.research.performance.drawdowns import monthly_table, worst_drawdowns
from trading_pipeline.research.performance.measures import METRICS
from trading_pipeline.tables.backtests import BACKTEST_TRADES
from trading_pipeline_tests.backtest_pages import TOML, backtest_inputs, configuration

FULL = backtest_inputs()
PAGE = backtest_page(FULL)
NOTHING = re.compile(r"\bNone\b(?! of)|\bnan\b|\binf\b")


def text_of(page: str, section: str | None = None) -> str:
    """What a reader sees, in one line; of one section, or of all."""
    if section is not None:
        [page] = re.findall(rf'<section[^>]*aria-labelledby="{section}">(.*?)</section>', page, re.DOTALL)
    page = re.sub(r"<(style|script|svg).*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of the bodies of the tables of that class."""
    found = re.findall(rf'<table class="[^"]*\b{table}\b[^"]*".*?<tbody[^>]*>(.*?)</tbody>', page, re.DOTALL)
    lines = [line for body in found for line in re.findall(r"<tr.*?>(.*?)</tr>", body, re.DOTALL)]
    return [
        [html.unescape(re.sub(r"<[^>]+>", " ", cell)).strip() for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", line)]
        for line in lines
    ]


def signed(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def test_pages_lie_side_by_side_one_a_configuration() -> None:
    assert place_of(US, "momentum-hrp") == "us/reports/backtests/momentum-hrp.html"
    assert place_of(ASX, "a_b") == "asx/reports/backtests/a_b.html"


def test_a_page_needs_nothing_else_and_is_not_large() -> None:
    assert not re.search(r'(?:src|href)="', PAGE)
    assert "default-src 'none'" in html.unescape(PAGE)
    assert len(PAGE.encode()) < 500_000
    assert not NOTHING.search(PAGE)


def test_the_same_result_makes_the_same_page() -> None:
    shuffled = replace(
        FULL,
        equity=FULL.equity.sample(fraction=1, shuffle=True, seed=1),
        trades=FULL.trades.sample(fraction=1, shuffle=True, seed=2),
        walk_forward=FULL.walk_forward.reverse(),
        monte_carlo_bands=FULL.monte_carlo_bands.reverse(),
        parameter_sweeps=FULL.parameter_sweeps.sample(fraction=1, shuffle=True, seed=3),
    )
    assert backtest_page(shuffled) == PAGE


def test_the_world_is_said_first_where_it_is_simulated() -> None:
    assert text_of(PAGE.split("<body")[1]).startswith('class="simulated"> SIMULATED')
    assert "SIMULATED" not in text_of(backtest_page(replace(FULL, world="real")))


def test_every_metric_is_told_with_its_meaning() -> None:
    shown = text_of(PAGE, "metrics")
    for metric in METRICS:
        if metric.unit != "row":
            assert metric.description in shown, metric.name
            assert metric.formula in shown, metric.name
    assert f"{signed(100 * FULL.row['total_return'])}%" in shown


def test_strategy_and_benchmark_stand_side_by_side() -> None:
    held = FULL.held
    assert held is not None and held["sharpe"] is not None
    told = {title: (own, other) for title, own, other in rows_of(PAGE, "compared")[:7]}
    assert told["Sharpe"] == (signed(FULL.row["sharpe"], 2), signed(held["sharpe"], 2))


def test_months_are_those_of_the_returns_and_coloured_by_sign() -> None:
    table = monthly_table(FULL.returns, FULL.sessions)
    rows = rows_of(PAGE, "months")
    assert [row[0] for row in rows] == [str(year) for year in table["year"]]
    for row, told in zip(rows, table.iter_rows(), strict=True):
        assert row[1:14] == ["" if value is None else signed(100 * value) for value in told[1:]]
    [months] = re.findall(r'<table class="months">.*?</table>', PAGE, re.DOTALL)
    for shade, value in re.findall(r'<td class="n ([gl])\d">([−\d.]+)</td>', months):
        assert (shade == "l") == value.startswith("−")


def test_the_worst_drawdowns_come_deepest_first() -> None:
    told = worst_drawdowns(FULL.returns, FULL.sessions)
    rows = rows_of(PAGE, "drawdowns")
    assert [row[3] for row in rows] == [f"{signed(100 * depth, 2)}%" for depth in told["depth"]]
    assert [row[4] for row in rows] == [str(sessions) for sessions in told["sessions"]]


def test_a_drawdown_that_goes_on_says_so() -> None:
    falling = backtest_inputs(drift=-0.004)
    assert "not yet" in rows_of(backtest_page(falling), "drawdowns")[0]


def test_best_worst_and_latest_trades_are_chosen_from_the_closed_ones() -> None:
    closed = FULL.trades.filter(pl.col("reason") != "end")
    rows = [row[0] for row in rows_of(PAGE, "trades")]
    assert rows[:6] == closed.sort("profit", descending=True)["ticker"].head(6).to_list()
    assert rows[6:12] == closed.sort("profit")["ticker"].head(6).to_list()
    assert rows[12:18] == closed.sort("exited_at", "number", descending=True)["ticker"].head(6).to_list()
    still = FULL.trades.filter(pl.col("reason") == "end").sort("profit", descending=True)
    assert rows[18:] == still["ticker"].to_list()


def test_why_trades_ended_adds_up() -> None:
    rows = rows_of(PAGE, "ends")
    closed = FULL.trades.filter(pl.col("reason") != "end")
    assert sum(int(row[2]) for row in rows) == closed.height
    money = sum(float(row[1].replace("−", "-").replace("$", "").replace(",", "").replace("+", "")) for row in rows)
    assert money == pytest.approx(closed["profit"].sum(), abs=0.03)
    assert {row[0] for row in rows} == {"Exit signal", "Stop", "Rebalanced away", "Left the universe", "Delisted"}


def test_sessions_held_are_counted_by_the_calendar_of_the_result() -> None:
    entered = FULL.days["session"].to_list().index(FULL.closed["entered_at"][4])
    exited = FULL.days["session"].to_list().index(FULL.closed["exited_at"][4])
    assert FULL.closed["held"][4] == exited - entered


def test_many_open_trades_are_folded_away() -> None:
    shown = text_of(backtest_page(backtest_inputs(open_trades=15)), "trades")
    assert "9 more open trades" in shown
    assert "more open trade" not in text_of(PAGE, "trades")


def test_the_map_shows_every_set_and_lists_the_ones_to_look_at() -> None:
    shown = text_of(PAGE, "map")
    assert "The configured set, fast 20, slow 100" in shown
    rows = rows_of(PAGE, "sets")
    assert [row[0].split()[0] for row in rows[:3]] == ["Configured", "Most", "Highest"]
    assert len(rows) - 20 == len([row for row in rows if row[0].startswith(("Configured", "Most", "Highest", "Neigh"))])


def test_a_sweep_of_one_parameter_is_a_list() -> None:
    from trading_pipeline_tests.backtest_pages import LAST, swept_sets

    one = swept_sets(FULL.configuration, LAST, fast=[10, 20, 30], slow=[100])
    shown = text_of(backtest_page(replace(FULL, parameter_sweeps=one)), "map")
    assert "A map needs two parameters that vary" in shown
    assert "All 3 sets" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [(TOML, "The sweep of this configuration is not computed yet."), (TOML.split("[sweep]")[0], "has no [sweep]")],
)
def test_without_a_sweep_the_page_says_why(text: str, said: str) -> None:
    assert said in text_of(backtest_page(backtest_inputs(swept=False, told=configuration(text))), "map")


def test_each_window_shows_what_was_chosen_and_what_came_of_it() -> None:
    rows = rows_of(PAGE, "windows")
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert [row[3] for row in rows] == ["fast 10, slow 100", "fast 20, slow 100"] * 2
    assert rows[0][5:7] == ["1.40", signed(FULL.walk_forward["test_sharpe"][0], 2)]
    assert rows[2][6] == "–"


def test_the_joined_tests_are_compared_with_the_same_sessions_of_the_backtest() -> None:
    days = FULL.days
    first = days["session"].to_list().index(FULL.walk_forward["test_first"][0])
    own = FULL.row["capital"] * days["equity"][-1] / days["equity"][first - 1]
    assert f"${own:,.2f}" in text_of(PAGE, "walk")
    assert f"${FULL.walk_forward_equity['equity'][-1]:,.2f}" in text_of(PAGE, "walk")


def test_many_windows_are_folded_away() -> None:
    assert "All 36 windows" in text_of(backtest_page(backtest_inputs(2_520, windows=36)), "walk")


def test_chances_are_those_of_both_methods() -> None:
    shown = text_of(PAGE, "chances")
    for method in ("blocks", "trades"):
        told = FULL.monte_carlo.filter((pl.col("method") == method) & (pl.col("measure") == "loss"))["mean"].item()
        assert f"Ends with a loss {100 * told:.1f}%" in shown
    assert "Equity of 200 paths" in shown


@pytest.mark.parametrize("section", ["chances", "walk"])
def test_what_was_not_computed_is_said_to_be_missing(section: str) -> None:
    page = backtest_page(backtest_inputs(drawn=False, windows=0))
    assert "materialize" in text_of(page, section)


def test_costs_add_up_to_what_was_paid() -> None:
    account = FULL.equity
    total = sum(account[name].sum() for name in ("fees", "slippage", "borrow", "haircut"))
    rows = rows_of(PAGE, "costs")
    assert [row[0] for row in rows][-1] == "All of it"
    assert rows[-1][1] == f"${total:,.2f}"
    assert rows[-1][2] == f"{100 * total / FULL.row['capital']:.2f}%"


def test_short_positions_bring_net_exposure_and_borrow() -> None:
    page = backtest_page(backtest_inputs(short=True))
    assert "Long less short" in text_of(page, "exposure")
    assert "Long less short" not in text_of(PAGE, "exposure")
    assert rows_of(page, "costs")[2][1] != "$0.00"


def test_coverage_names_the_worst_session_and_the_threshold() -> None:
    shown = text_of(PAGE, "coverage")
    assert "97.0% on the worst session" in shown
    assert "never fewer than the 95% that are asked for" in shown
    whole = backtest_inputs()
    full = replace(whole, equity=whole.equity.with_columns(coverage=pl.lit(1.0)))
    assert "Every member had a bar on every session." in text_of(backtest_page(full), "coverage")


def test_hash_seed_code_version_and_data_as_of_are_there() -> None:
    shown = text_of(PAGE, "configuration")
    assert FULL.row["configuration_hash"] in shown
    assert "Data as of 17 Sep 2025, 18:30 EDT (22:30 UTC)" in shown
    assert "Code version 1" in shown and "Seed 0" in shown
    assert "delisting_haircut = 0.3" in shown


def test_watermark_and_revision_stand_before_the_result() -> None:
    row = {"watermark": "Survivorship: only 80.0% of the members", "revised_from": date(2025, 3, 3)}
    page = text_of(backtest_page(backtest_inputs(row=row)))
    assert page.index("Survivorship: only 80.0%") < page.index("in 3.0 years")
    assert page.index("Revised.") < page.index("in 3.0 years")
    assert "Before you believe it" not in text_of(PAGE)


def test_what_was_computed_up_to_another_session_is_told() -> None:
    old = date(2025, 9, 16)
    page = backtest_page(
        replace(
            FULL,
            parameter_sweeps=FULL.parameter_sweeps.with_columns(last_session=pl.lit(old)),
            monte_carlo=FULL.monte_carlo.with_columns(last_session=pl.lit(old)),
        )
    )
    assert "Swept up to 16 Sep 2025" in text_of(page, "map") and "Swept up to" not in text_of(PAGE, "map")
    assert "up to 16 Sep 2025" in text_of(page, "chances")


@pytest.mark.parametrize(
    "given",
    [
        {"trades": 0, "open_trades": 0},
        {"trades": 0, "open_trades": 1},
        {"trades": 1, "open_trades": 0},
        {"sessions": 2, "trades": 0, "open_trades": 0, "windows": 0, "drawn": False},
        {"sessions": 40, "trades": 3, "windows": 0},
        {"swept": False, "windows": 1},
    ],
    ids=["no trade", "an open trade", "one trade", "two sessions", "two months", "one window"],
)
def test_a_page_of_little_is_whole(given: dict[str, Any]) -> None:
    page = backtest_page(backtest_inputs(**given))
    assert page.rstrip().endswith("</html>")
    assert not NOTHING.search(page)


def test_a_benchmark_without_bars_is_left_out() -> None:
    alone = replace(FULL, equity=FULL.equity.with_columns(benchmark=pl.lit(None, pl.Float64)))
    page = backtest_page(alone)
    assert "held over the same sessions" not in text_of(page)
    assert "bought on the first session and held" not in text_of(page)


def test_a_benchmark_that_begins_later_begins_with_the_capital() -> None:
    late = FULL.equity.sort("session").with_columns(
        benchmark=pl.when(pl.int_range(pl.len()) < 100).then(None).otherwise("benchmark")
    )
    inputs = replace(FULL, equity=late)
    assert inputs.days["level"].drop_nulls()[0] == FULL.row["capital"]
    assert np.isnan(inputs.days["level"].fill_null(np.nan).to_numpy()[:100]).all()
    backtest_page(inputs)


def test_hostile_names_are_escaped() -> None:
    nasty = "<script>alert(1)</script>"
    page = backtest_page(
        replace(
            FULL,
            row={**FULL.row, "title": nasty, "watermark": nasty},
            trades=FULL.trades.with_columns(ticker=pl.lit(nasty)),
        )
    )
    assert nasty not in page
    assert html.escape(nasty) in page


def test_a_frame_that_lacks_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="trades frame lacks profit"):
        replace(FULL, trades=FULL.trades.drop("profit"))
    with pytest.raises(ValueError, match="equity frame holds 0 sessions"):
        replace(FULL, equity=FULL.equity.clear())
    with pytest.raises(ValueError, match="row lacks sharpe"):
        replace(FULL, row={name: value for name, value in FULL.row.items() if name != "sharpe"})


def test_inputs_without_trades_have_no_closed_ones() -> None:
    none: BacktestInputs = replace(FULL, trades=BACKTEST_TRADES.empty())
    assert none.closed.is_empty() and none.open.is_empty()
