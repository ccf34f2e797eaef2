"""The premarket page and that of a trading day in a real browser, without a network: desk, phone, dark, paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.premarket import render
from trading_pipeline.reports.trading_day import trading_day_page
from trading_pipeline_tests.opened import CHROMIUM, DESK, NO_CHROMIUM, PAPER, PHONE, TABLET, Opened, browser
from trading_pipeline_tests.premarkets import empty_inputs, premarket_inputs, silent
from trading_pipeline_tests.trading_days import HALF_DAY, trading_day

pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]

HOSTILE = "<img src=x onerror=document.title='owned'>" + "W" * 90
FULL = ["premarket", "trading"]
PAGES = [*FULL, "silent", "empty", "quiet", "refused", "half"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each kind of page as a file, two of them full of hostile words."""
    folder = tmp_path_factory.mktemp("pages")
    morning, day, bad = premarket_inputs(), trading_day(), pl.lit(HOSTILE)
    pages = {
        "premarket": render(morning),
        "silent": render(replace(morning, snapshots=silent(morning.snapshots, None))),
        "empty": render(empty_inputs()),
        "trading": trading_day_page(day),
        "quiet": trading_day_page(trading_day(trades=0, held=0, carried=0, refused=0)),
        "refused": trading_day_page(trading_day(trades=0, held=0, carried=0, refused=70)),
        "half": trading_day_page(trading_day(HALF_DAY, trades=3, sides=("short",))),
        "hostile-premarket": render(
            replace(
                morning,
                bias=morning.bias.with_columns(reasons=bad, events=bad),
                names=morning.names.with_columns(name=bad),
                members=morning.members.with_columns(sector=bad),
                analysis=morning.analysis.with_columns(play=bad),
                earnings=morning.earnings.with_columns(disagreement=bad),
            )
        ),
        "hostile-trading": trading_day_page(
            replace(
                day,
                trade_signals=day.trade_signals.with_columns(outcome_reason=bad, reasons=bad, setup=bad),
                trades=day.trades.with_columns(setup=bad, exit_reason=bad),
                live_ticks=day.live_ticks.with_columns(why_not=bad, entries_allowed=False),
                order_events=day.order_events.with_columns(reason=bad),
                market_analysis=day.market_analysis.with_columns(summary=bad),
            )
        ),
    }
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Any]:
    """Opens a page at a size and colour scheme, the network cut."""
    contexts = []

    def open_page(name: str, size: dict[str, int], scheme: str = "light") -> Opened:
        context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        return Opened(context.new_page(), (folder / f"{name}.html").as_uri())

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", [DESK, TABLET, PHONE], ids=["desk", "tablet", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_can_be_read(opened, name, size):
    page = opened(name, size)
    assert page.complaints == []
    assert page.requests == [page.tab.url]
    page.unfold()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    assert page.beyond_the_margin() == []
    assert page.weak_text() == []
    assert page.small_text() == []


@pytest.mark.parametrize("name", FULL)
def test_the_dark_page_can_be_read_too(opened, name):
    page = opened(name, DESK, "dark")
    page.unfold()
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 27)"
    assert page.weak_text() == []
    light = "(colour => colour.match(/\\d+/g).slice(0, 3).every(value => value > 180))"
    inks = "[...document.querySelectorAll('.chart [stroke=\"#222222\"]')].map(e => getComputedStyle(e).stroke)"
    assert page.ask(f"{inks}.length > 5 && {inks}.every({light})")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", FULL)
def test_hostile_words_are_shown_fit_and_are_not_run(opened, name, size):
    page = opened(f"hostile-{name}", size)
    page.unfold()
    assert "<img src=x onerror=" in page.ask("document.body.innerText")
    assert page.ask("document.images.length") == 0
    assert "owned" not in page.tab.title()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]


def test_names_sort_by_gap_with_unknown_ones_last_both_ways(opened):
    page = opened("premarket", DESK)
    head = page.tab.locator(".mornings th", has_text="Gap").get_by_role("button")
    for reverse in (True, False):
        head.click()
        shown = page.column(".mornings", 2)
        known = [float(value.strip("%").replace("−", "-")) for value in shown if value != "–"]
        assert known == sorted(known, reverse=reverse) and len(set(known)) > 5
        assert shown[len(known) :] == ["–"] * 2


def test_names_sort_by_bias_and_band_on_a_phone(opened):
    page = opened("premarket", PHONE)
    # The last list belongs to the table of all names.
    page.tab.locator(".sort-by select").last.select_option(label="Bias")
    biases = [value.split()[1] if "▲" in value or "▼" in value else "Neutral" for value in page.column(".mornings", 8)]
    order = {"Long": 0, "Neutral": 1, "Short": 2}
    assert [order[bias] for bias in biases] == sorted(order[bias] for bias in biases)
    assert set(biases) == set(order)


def test_the_mark_of_every_name_lies_within_its_drawing(opened):
    for size in (DESK, PHONE):
        page = opened("premarket", size)
        inside = """[...document.querySelectorAll('.mornings .band svg')].every(svg => {
          const box = svg.getBoundingClientRect();
          return box.width > 90 && [...svg.querySelectorAll('circle, rect')].every(mark => {
            const at = mark.getBoundingClientRect();
            return at.left >= box.left - 1 && at.right <= box.right + 1;
          });
        })"""
        assert page.ask(inside)


def test_trades_sort_by_profit_and_refusals_by_time(opened):
    page = opened("trading", DESK)
    page.tab.locator(".trades th", has_text="Profit").get_by_role("button").click()
    profits = [float(value.replace("−", "-").replace("$", "").replace(",", "")) for value in page.column(".trades", 1)]
    assert profits == sorted(profits, reverse=True) and profits[-1] < 0 < profits[0]
    head = page.tab.locator(".refused th", has_text="Time").get_by_role("button")
    head.click()
    head.click()
    times = page.column(".refused", 1)
    assert times == sorted(times, reverse=True) and len(set(times)) == len(times)


@pytest.mark.parametrize(("size", "drawn"), [(DESK, "wide"), (PHONE, "narrow")], ids=["desk", "phone"])
def test_charts_are_drawn_for_the_screen_with_legible_labels(opened, size, drawn):
    page = opened("trading", size)
    visible = "[...document.querySelectorAll('.chart.wide, .chart.narrow')].filter(e => e.offsetParent)"
    assert page.ask(f"{visible}.map(chart => chart.classList[1])") == [drawn] * 3
    texts = "[...document.querySelectorAll('.chart text')].filter(e => e.getBoundingClientRect().width)"
    assert page.ask(f"{texts}.length") > 60
    assert page.ask(f"{texts}.every(text => text.getBoundingClientRect().height >= 11)")
    assert page.ask(f"{texts}.every(text => text.getBoundingClientRect().right <= innerWidth)")
    figures = "[...document.querySelectorAll('.charts figure .chart')].map(e => e.getBoundingClientRect())"
    assert page.ask(f"{figures}.length") == 8
    assert page.ask(f"{figures}.every(box => box.width > 300 && box.height > 170)")
    columns = page.ask(f"new Set({figures}.map(box => Math.round(box.left))).size")
    assert columns == (2 if drawn == "wide" else 1)


@pytest.mark.parametrize("name", FULL)
def test_numbers_line_up_on_the_right(opened, name):
    page = opened(name, DESK)
    right = "[...document.querySelectorAll('td.n, th.n')].map(cell => getComputedStyle(cell).textAlign)"
    assert set(page.ask(right)) == {"right"}


@pytest.mark.parametrize("name", FULL)
def test_on_paper_it_is_light_and_fits_the_sheet(opened, name):
    page = opened(name, PAPER, "dark")
    page.tab.emulate_media(media="print", color_scheme="dark")
    assert page.ask("document.documentElement.scrollWidth") <= PAPER["width"]
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.tab.locator(".sort-by").first.is_visible() is False


@pytest.mark.parametrize("name", PAGES)
def test_every_section_has_a_heading_and_every_table_a_caption(opened, name):
    page = opened(name, DESK)
    sections = "[...document.querySelectorAll('section')].map(part => part.getAttribute('aria-labelledby'))"
    assert page.ask(f"{sections}.filter(name => !document.getElementById(name)).length") == 0
    assert page.ask("[...document.querySelectorAll('table')].filter(table => !table.caption).length") == 0
    assert page.ask("document.querySelectorAll('h1').length") == 1
    ids = "[...document.querySelectorAll('[id]')].map(element => element.id)"
    assert page.ask(f"new Set({ids}).size === {ids}.length")


@pytest.mark.parametrize("name", FULL)
def test_without_its_script_a_page_reads_the_same(chromium, folder, name):
    context = chromium.new_context(viewport=DESK, java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto((folder / f"{name}.html").as_uri())
    assert tab.locator("thead button").count() == 0
    assert "Ticker" in tab.locator("table.cards thead").first.inner_text()
    context.close()
