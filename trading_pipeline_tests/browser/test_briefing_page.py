"""The briefing in a real browser, without a network: on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.briefing import TOP_DIPS, render
from trading_pipeline_tests.briefings import briefing_inputs, dip_rows, quiet_inputs

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESK, TABLET, PHONE = {"width": 1280, "height": 900}, {"width": 800, "height": 1100}, {"width": 390, "height": 844}
PAPER = {"width": 703, "height": 1000}  # A4 less its margins, in CSS pixels

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages as files, the way the lake keeps them."""
    folder = tmp_path_factory.mktemp("briefings")
    hostile = dip_rows().with_columns(
        ticker=pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit("<img src=x onerror=document.title='owned'>" + "W" * 60))
        .otherwise("ticker")
    )
    for name, inputs in {
        "full": briefing_inputs(),
        "quiet": quiet_inputs(),
        "hostile": briefing_inputs(dips=hostile),
    }.items():
        (folder / f"{name}.html").write_text(render(inputs), encoding="utf-8")
    return folder


class Opened:
    """A page in a tab, with everything it complained of or asked for."""

    def __init__(self, tab: Any, address: str) -> None:
        self.tab = tab
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.goto(address)

    def ask(self, script: str) -> Any:
        """What a line of JavaScript says in the page."""
        return self.tab.evaluate(script)


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
    page.ask("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    beyond_the_margin = """() => {
      const main = document.querySelector('main');
      const edge = main.getBoundingClientRect().right - parseFloat(getComputedStyle(main).paddingRight);
      return [...main.querySelectorAll('*')]
        .filter(element => !element.closest('.scroll, svg') && element.getBoundingClientRect().right > edge + 1)
        .map(element => element.outerHTML.slice(0, 80));
    }"""
    assert page.ask(beyond_the_margin) == []


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


def test_the_dark_page_is_dark_and_its_lines_are_re_coloured(opened):
    background, close = (
        "getComputedStyle(document.body).backgroundColor",
        "getComputedStyle(document.querySelector('.chart [stroke=\"#222222\"]')).stroke",
    )
    light, dark = opened("full", DESK, "light"), opened("full", DESK, "dark")
    assert (light.ask(background), light.ask(close)) == ("rgb(255, 255, 255)", "rgb(28, 31, 36)")
    assert (dark.ask(background), dark.ask(close)) == ("rgb(19, 22, 27)", "rgb(233, 235, 238)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    """WCAG AA: a contrast of 4.5 for text, 3 for large text."""
    page = opened("full", DESK, scheme)
    weak = page.ask(
        """() => {
          const channels = colour => colour.match(/[\\d.]+/g).map(Number);
          const luminance = colour => channels(colour).slice(0, 3).map(value => value / 255)
            .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
            .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
          const behind = element => {
            for (let at = element; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if ((channels(colour)[3] ?? 1) > 0) return colour;
            }
          };
          const found = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.data.trim() || element.closest('svg, style')) continue;
            const style = getComputedStyle(element);
            const [a, b] = [luminance(style.color), luminance(behind(element))].sort((x, y) => y - x);
            const large = parseFloat(style.fontSize) >= 24;
            if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push(element.outerHTML.slice(0, 80));
          }
          return found;
        }"""
    )
    assert weak == []


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
    rest = page.tab.locator("table.compact")
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
