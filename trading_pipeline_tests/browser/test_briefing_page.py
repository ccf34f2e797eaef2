"""The briefing in a real browser, without a network: on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.briefing import TOP_DIPS, render
from trading_pipeline.reports.decisions import ranked
from trading_pipeline_tests.briefings import TEARSHEETS, briefing_inputs, dip_rows, quiet_inputs, score_rows
from trading_pipeline_tests.opened import CHROMIUM, DESK, NO_CHROMIUM, PAPER, PHONE, TABLET, Opened, browser

pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages as files, the way the lake keeps them."""
    folder = tmp_path_factory.mktemp("reports") / "daily_briefing"
    folder.mkdir()
    hostile = dip_rows().with_columns(
        ticker=pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit("<img src=x onerror=document.title='owned'>" + "W" * 60))
        .otherwise("ticker")
    )
    for name, inputs in {
        "full": briefing_inputs(),
        "quiet": quiet_inputs(),
        "hostile": briefing_inputs(dips=hostile, names=hostile.select("instrument_id", name="ticker")),
    }.items():
        (folder / f"{name}.html").write_text(render(inputs), encoding="utf-8")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, TABLET, PHONE], ids=["desk", "tablet", "phone"])
@pytest.mark.parametrize("name", ["full", "quiet", "hostile"])
def test_a_page_fits_its_screen_complains_of_nothing_and_asks_for_nothing(opened, name, size, scheme):
    page = opened(name, size, scheme)
    assert page.complaints == []
    assert page.requests == [page.tab.url]
    page.unfold()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    assert page.beyond_the_margin() == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_numbers_a_reader_sees_are_those_of_the_frame(opened, size):
    page = opened("full", size)
    shown = page.ask("[...document.querySelectorAll('.dips tbody tr')].map(row => row.innerText)")
    expected = dip_rows().sort("dip_pct", descending=True).head(TOP_DIPS)
    assert len(shown) == expected.height
    for row, dip in zip(shown, expected.iter_rows(named=True), strict=True):
        assert dip["ticker"] in row
        assert f"{dip['dip_pct']:.1f}%" in row
        assert f"{dip['price']:,.2f}" in row


@pytest.mark.parametrize(("size", "drawn"), [(DESK, "wide"), (PHONE, "narrow")], ids=["desk", "phone"])
def test_each_screen_gets_the_chart_drawn_for_it(opened, size, drawn):
    page = opened("full", size)
    visible = "[...document.querySelectorAll('.chart.wide, .chart.narrow')].filter(e => e.offsetParent)"
    assert page.ask(f"{visible}.map(chart => chart.classList[1])") == [drawn, drawn]
    assert page.ask(f"{visible}.every(chart => chart.getBoundingClientRect().height > 100)")
    assert page.ask(f"{visible}.every(chart => chart.getAttribute('aria-label').length > 40)")


def test_numbers_line_up_on_the_right_with_digits_of_one_width(opened):
    page = opened("full", DESK)
    right = "[...document.querySelectorAll('.dips td.n')].map(cell => getComputedStyle(cell).textAlign)"
    assert set(page.ask(right)) == {"right"}
    assert "tabular-nums" in page.ask("getComputedStyle(document.body).fontVariantNumeric")


LEADERS = ".leaders"
POINTS, TICKER, REPORT = 3, 1, 9


def test_a_click_on_a_columns_head_sorts_by_it_and_another_the_other_way(opened):
    page = opened("full", DESK)
    published = page.column(LEADERS, TICKER)
    assert [row.split()[0] for row in published] == ranked(score_rows())["ticker"].head(15).to_list()
    points = page.tab.locator(f"{LEADERS} th", has_text="Points")
    points.get_by_role("button").click()
    assert points.get_attribute("aria-sort") == "descending"
    shown = [float(value) for value in page.column(LEADERS, POINTS)]
    assert shown == sorted(shown, reverse=True)
    points.get_by_role("button").click()
    assert points.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in page.column(LEADERS, POINTS)] == shown[::-1]
    names = page.tab.locator(f"{LEADERS} th", has_text="Ticker")
    names.get_by_role("button").click()
    assert (names.get_attribute("aria-sort"), points.get_attribute("aria-sort")) == ("ascending", None)
    assert page.column(LEADERS, TICKER) == sorted(published)


def test_unknown_values_stay_last_whichever_way_a_column_is_sorted(opened):
    page = opened("full", DESK)
    button = page.tab.locator(f"{LEADERS} th", has_text="Next report").get_by_role("button")
    for _ in range(2):
        button.click()
        days = page.column(LEADERS, REPORT)
        known = [day for day in days if day != "–"]
        assert days == [*known, *["–"] * (len(days) - len(known))]
        assert len(known) < len(days)


def test_the_keyboard_alone_sorts_a_table(opened):
    page = opened("full", DESK)
    page.tab.locator(f"{LEADERS} thead button").first.focus()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Enter")
    assert page.ask("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    assert page.column(LEADERS, TICKER) == sorted(page.column(LEADERS, TICKER))
    page.tab.keyboard.press("Space")
    assert page.ask("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"


def test_on_a_phone_cards_are_sorted_by_a_list_and_put_back(opened):
    page = opened("full", PHONE)
    published = page.column(".dips", 0)
    chosen = page.tab.locator("section:has(#dips) .sort-by select")
    chosen.select_option(label="Price")
    prices = [float(value.split()[-1].replace(",", "")) for value in page.column(".dips", 2)]
    assert prices == sorted(prices, reverse=True)
    chosen.select_option(label="as published")
    assert page.column(".dips", 0) == published
    assert page.tab.locator(f"{LEADERS} thead button").first.is_visible() is False
    assert opened("full", DESK).tab.locator(".sort-by").first.is_visible() is False


def test_every_table_worth_sorting_can_be_sorted(opened):
    page = opened("full", DESK)
    page.unfold()
    without = "[...document.querySelectorAll('table:not(.sortable)')].map(table => table.caption.innerText)"
    assert page.ask(without) == ["Largest gains", "Largest losses"]
    sorting = "[...document.querySelectorAll('table.sortable')].every(table => table.querySelector('thead button'))"
    assert page.ask(sorting)


def test_a_name_leads_to_its_tearsheet_where_there_is_one(opened, folder):
    page = opened("full", PHONE)
    links = page.ask("[...document.querySelectorAll('main a')].map(link => link.getAttribute('href'))")
    assert set(links) == set(TEARSHEETS.values())
    target = folder / TEARSHEETS["us:QAL"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("<title>the tearsheet</title>", encoding="utf-8")
    page.tab.locator(".desk a.ticker", has_text="QAL").click()
    assert page.tab.title() == "the tearsheet"


def test_the_dark_page_is_dark_and_its_lines_are_re_coloured(opened):
    background, close = (
        "getComputedStyle(document.body).backgroundColor",
        "getComputedStyle(document.querySelector('.chart [stroke=\"#222222\"]')).stroke",
    )
    light, dark = opened("full", DESK, "light"), opened("full", DESK, "dark")
    assert (light.ask(background), light.ask(close)) == ("rgb(255, 255, 255)", "rgb(28, 31, 36)")
    assert (dark.ask(background), dark.ask(close)) == ("rgb(19, 22, 27)", "rgb(233, 235, 238)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_text_stands_out_from_what_is_behind_it_and_is_large_enough(opened, size, scheme):
    page = opened("full", size, scheme)
    page.unfold()
    assert page.weak_text() == []
    assert page.small_text() == []


def test_on_paper_it_is_light_fits_the_sheet_and_stays_a_table(opened):
    page = opened("full", PAPER, "dark")
    page.tab.emulate_media(media="print", color_scheme="dark")
    assert page.ask("document.documentElement.scrollWidth") <= PAPER["width"]
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.ask("getComputedStyle(document.querySelector('.dips tbody tr')).display") == "table-row"


def test_a_simulated_page_says_so_before_anything_else(opened):
    full, quiet = opened("full", PHONE), opened("quiet", PHONE)
    assert full.tab.title().startswith("SIMULATED")
    assert full.ask("document.body.innerText").startswith("SIMULATED")
    assert "SIMULATED" not in quiet.ask("document.body.innerText")


def test_a_hostile_ticker_is_shown_and_not_run(opened):
    page = opened("hostile", PHONE)
    assert page.ask("document.querySelector('.dips .ticker').innerText").startswith("<img src=x onerror=")
    assert page.ask("document.images.length") == 0
    assert "owned" not in page.tab.title()


def test_the_other_dips_open_on_demand(opened):
    page = opened("full", DESK)
    rest = page.tab.locator("section:has(#dips) table.compact")
    assert not rest.is_visible()
    page.tab.get_by_text("28 more dips").click()
    assert rest.is_visible()
    assert rest.locator("tbody tr").count() == dip_rows().height - TOP_DIPS


def test_every_section_has_a_heading_and_every_table_a_caption(opened):
    page = opened("full", DESK)
    sections = "[...document.querySelectorAll('section')].map(section => section.getAttribute('aria-labelledby'))"
    assert page.ask(f"{sections}.filter(name => !document.getElementById(name)).length") == 0
    assert page.ask("[...document.querySelectorAll('table')].filter(table => !table.caption).length") == 0
    assert page.ask("document.querySelectorAll('h1').length") == 1
