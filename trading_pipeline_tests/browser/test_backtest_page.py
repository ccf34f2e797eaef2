"""The page of a backtest in a real browser, without a network: on a desk and on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.backtests import backtest_page
from trading_pipeline_tests.backtest_pages import backtest_inputs
from trading_pipeline_tests.opened import CHROMIUM, DESK, NO_CHROMIUM, PAPER, PHONE, TABLET, Opened, browser

pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]

FULL = backtest_inputs(short=True, row={"watermark": "Survivorship: " + "few " * 30, "revised_from": date(2025, 3, 3)})
LONG = backtest_inputs(2_520, trades=400, windows=36, drift=0.0015)
HOSTILE = backtest_inputs(row={"title": "<img src=x onerror=document.title='owned'>" + "W" * 90})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages as files, the way the lake keeps them."""
    folder = tmp_path_factory.mktemp("backtests")
    idle = backtest_inputs(trades=0, open_trades=0, windows=0, swept=False, drawn=False)
    for name, inputs in {"full": FULL, "long": LONG, "idle": idle, "hostile": HOSTILE}.items():
        (folder / f"{name}.html").write_text(backtest_page(inputs), encoding="utf-8")
    return folder


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Any]:
    """Opens a page of the folder at a size and colour scheme, the network cut."""
    contexts = []

    def open_page(name: str, size: dict[str, int], scheme: str = "light") -> Opened:
        context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        return Opened(context.new_page(), (folder / f"{name}.html").as_uri())

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", [DESK, TABLET, PHONE], ids=["desk", "tablet", "phone"])
@pytest.mark.parametrize("name", ["full", "long", "idle", "hostile"])
def test_a_page_fits_its_screen_complains_of_nothing_and_asks_for_nothing(opened, name, size):
    page = opened(name, size)
    assert page.complaints == []
    assert page.requests == [page.tab.url]
    page.unfold()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    assert page.beyond_the_margin() == []
    assert page.ask("document.images.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_text_stands_out_from_what_is_behind_it_and_is_large_enough(opened, size, scheme):
    page = opened("full", size, scheme)
    page.unfold()
    assert page.weak_text() == []
    assert page.small_text() == []


@pytest.mark.parametrize(("size", "drawn"), [(DESK, "wide"), (PHONE, "narrow")], ids=["desk", "phone"])
def test_each_screen_gets_the_charts_drawn_for_it(opened, size, drawn):
    page = opened("full", size)
    visible = "[...document.querySelectorAll('.chart.wide, .chart.narrow')].filter(e => e.offsetParent)"
    assert page.ask(f"{visible}.map(chart => chart.classList[1])") == [drawn] * 9
    assert page.ask(f"{visible}.every(chart => chart.getBoundingClientRect().height > 100)")
    assert page.ask(f"{visible}.every(chart => chart.getAttribute('aria-label').length > 40)")


OVERLAPS = """() => {
  const found = [];
  for (const chart of document.querySelectorAll('.chart')) {
    if (!chart.offsetParent) continue;
    const boxes = [...chart.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([one, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
      const apart = a.right <= b.left || b.right <= a.left || a.bottom - 3 <= b.top || b.bottom - 3 <= a.top;
      if (!apart) found.push([chart.getAttribute('aria-label').slice(0, 40), one, other]);
    }));
  }
  return found;
}"""


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["full", "long", "idle"])
def test_no_label_of_a_chart_covers_another(opened, name, size):
    assert opened(name, size).ask(OVERLAPS) == []


def test_numbers_line_up_on_the_right_with_digits_of_one_width(opened):
    page = opened("full", DESK)
    right = "[...document.querySelectorAll('td.n')].map(cell => getComputedStyle(cell).textAlign)"
    assert set(page.ask(right)) == {"right"}
    assert "tabular-nums" in page.ask("getComputedStyle(document.body).fontVariantNumeric")


def test_a_click_on_a_columns_head_sorts_the_sets_and_the_windows(opened):
    page = opened("full", DESK)
    page.unfold()
    for table, head, column in ((".windows", "Return of the test", 7), (".ends", "Trades", 2)):
        page.tab.locator(f"{table} th", has_text=head).first.get_by_role("button").click()
        shown = [float(value.replace("−", "-").rstrip("%")) for value in page.column(table, column)]
        assert shown == sorted(shown, reverse=True)


def test_drawdowns_sort_by_day_and_put_the_unregained_last(opened):
    page = opened("long", DESK)
    page.tab.locator(".drawdowns th", has_text="Regained").get_by_role("button").click()
    days = page.column(".drawdowns", 2)
    assert len(days) == 10
    known = [day for day in days if day != "not yet"]
    assert days == [*known, *["not yet"] * (len(days) - len(known))]


def test_every_table_worth_sorting_can_be_sorted(opened):
    page = opened("full", DESK)
    page.unfold()
    without = "[...document.querySelectorAll('table:not(.sortable)')].map(table => table.className)"
    assert page.ask(without) == ["months", "coverage costs"]


def test_the_months_scroll_by_themselves_on_a_phone_with_the_year_in_sight(opened):
    page = opened("full", PHONE)
    page.ask("document.querySelector('.scroll:has(.months)').scrollLeft = 300")
    year = page.ask("document.querySelector('.months tbody th').getBoundingClientRect().left")
    assert 0 <= year < 40
    assert page.ask("document.querySelector('.scroll:has(.months)').scrollLeft") == 300


def test_the_cells_of_the_map_are_told_apart_from_the_page_in_both_schemes(opened):
    for scheme in ("light", "dark"):
        page = opened("full", DESK, scheme)
        fills = page.ask("[...document.querySelectorAll('.wide rect.g4')].map(cell => getComputedStyle(cell).fill)")
        assert fills and page.ask("getComputedStyle(document.body).backgroundColor") not in fills


def test_warnings_stand_above_the_result_and_simulated_above_everything(opened):
    page = opened("full", PHONE)
    text = page.ask("document.body.innerText")
    assert text.startswith("SIMULATED")
    assert text.index("Survivorship: few") < text.index("Revised.") < text.index("Key metrics")
    assert page.tab.title().startswith("SIMULATED")


def test_a_hostile_title_is_shown_and_not_run(opened):
    page = opened("hostile", PHONE)
    assert page.ask("document.querySelector('h1').innerText").startswith("<img src=x onerror=")
    assert "owned" not in page.tab.title()


def test_on_paper_it_is_light_and_fits_the_sheet(opened):
    page = opened("full", PAPER, "dark")
    page.tab.emulate_media(media="print", color_scheme="dark")
    assert page.ask("document.documentElement.scrollWidth") <= PAPER["width"]
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_every_section_has_a_heading_and_every_table_a_caption(opened):
    page = opened("full", DESK)
    sections = "[...document.querySelectorAll('section')].map(section => section.getAttribute('aria-labelledby'))"
    assert page.ask(f"{sections}.filter(name => !document.getElementById(name)).length") == 0
    assert page.ask("[...document.querySelectorAll('table')].filter(table => !table.caption).length") == 0
    assert page.ask("document.querySelectorAll('h1').length") == 1


def test_the_trades_a_reader_sees_are_those_of_the_table(opened):
    closed = LONG.trades.filter(pl.col("reason") != "end").sort("profit", descending=True)
    shown = opened("long", DESK).column(".trades", 0)
    assert shown[:6] == closed["ticker"].head(6).to_list()
