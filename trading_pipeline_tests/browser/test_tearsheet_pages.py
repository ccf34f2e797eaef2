"""Tearsheets and their index in a real browser, without a network: on a desk and on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.tearsheets import render_all
from trading_pipeline_tests.opened import CHROMIUM, DESK, NO_CHROMIUM, PAPER, PHONE, TABLET, Opened, browser
from trading_pipeline_tests.tearsheets import LONG_NAME, article, tearsheet_inputs

pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]

INDEX = "us/reports/tearsheets/2024-07-05"
HOSTILE = "<img src=x onerror=document.title='owned'>" + "W" * 90
KINDS = ["QAL", "QAN", "FUND", "THIN", "WATCH", "TOPS"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages as files, the way the lake keeps them; those of a hostile world beside them."""
    folder = tmp_path_factory.mktemp("lake")
    full = tearsheet_inputs()
    bad = pl.lit(HOSTILE)
    hostile = tearsheet_inputs(
        scores=full.scores.with_columns(gates=bad, reasons=bad, sector=bad),
        fundamentals=full.fundamentals.with_columns(name=bad, industry=bad),
        analysis=full.analysis.with_columns(why=bad, play=bad, risks=bad),
        dips=full.dips.with_columns(evidence=bad),
        earnings=full.earnings.with_columns(disagreement=bad),
        news=pl.DataFrame([article("QAL", n, title=HOSTILE, publisher=HOSTILE) for n in range(3)], full.news.schema),
    )
    for root, inputs in (("plain", full), ("hostile", hostile), ("real", tearsheet_inputs(world="real"))):
        for place, page in render_all(inputs).items():
            target = folder / root / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Any]:
    """Opens a page of the folder at a size and colour scheme, the network cut."""
    contexts = []

    def open_page(name: str, size: dict[str, int], scheme: str = "light", root: str = "plain") -> Opened:
        context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        place = INDEX + (f"/{name}" if name else "")
        return Opened(context.new_page(), (folder / root / f"{place}.html").as_uri())

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", [DESK, TABLET, PHONE], ids=["desk", "tablet", "phone"])
@pytest.mark.parametrize("name", ["", *KINDS], ids=["index", *KINDS])
def test_a_page_fits_its_screen_and_can_be_read(opened, name, size):
    page = opened(name, size)
    assert page.complaints == []
    assert page.requests == [page.tab.url]
    page.unfold()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    assert page.beyond_the_margin() == []
    assert page.weak_text() == []
    assert page.small_text() == []


@pytest.mark.parametrize("name", ["", "QAL", "TOPS"])
def test_the_dark_page_can_be_read_too(opened, name):
    page = opened(name, DESK, "dark")
    page.unfold()
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 27)"
    assert page.weak_text() == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["", "QAL"], ids=["index", "QAL"])
def test_hostile_words_are_shown_fit_and_are_not_run(opened, name, size):
    page = opened(name, size, root="hostile")
    page.unfold()
    assert "<img src=x onerror=" in page.ask("document.body.innerText")
    assert page.ask("document.images.length") == 0
    assert "owned" not in page.tab.title()
    assert page.ask("document.documentElement.scrollWidth") <= size["width"]
    assert page.beyond_the_margin() == []


def test_were_markup_ever_to_slip_through_the_policy_would_not_run_it(opened):
    page = opened("QAL", DESK)
    page.ask(
        "document.body.insertAdjacentHTML('beforeend', "
        '\'<button id=trap onclick="document.title = 1">x</button><img src=x onerror="document.title = 1">\')'
    )
    page.tab.locator("#trap").click()
    assert page.tab.title() != "1"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_index_opens_a_tearsheet_and_the_tearsheet_the_index(opened, size):
    page = opened("", size)
    page.tab.get_by_role("link", name="QAL").click()
    assert page.ask("document.querySelector('h1 .ticker').innerText") == "QAL"
    assert LONG_NAME in page.ask("document.querySelector('h1').innerText")
    page.tab.get_by_role("link", name="All tearsheets").click()
    assert page.tab.url.endswith(f"{INDEX}.html")
    assert page.complaints == []


def test_a_peer_leads_to_its_own_page(opened):
    page = opened("QAN", DESK)
    link = page.tab.locator(".peers a.ticker").first
    name = link.inner_text()
    link.click()
    assert page.ask("document.querySelector('h1 .ticker').innerText") == name


def test_every_link_of_every_page_leads_somewhere(opened, folder):
    page = opened("", DESK)
    for file in (folder / "plain").rglob("*.html"):
        page.tab.goto(file.as_uri())
        for address in page.ask("[...document.links].map(link => link.href)"):
            assert Path(address.removeprefix("file://")).is_file(), (file.name, address)


def test_tables_sort_by_a_click_with_unknown_values_last(opened):
    page = opened("QAN", DESK)
    head = page.tab.locator(".compared th", has_text="Better than")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    shown = page.column(".compared", 4)
    known = [int(value[:-1]) for value in shown if value != "–"]
    assert known == sorted(known, reverse=True)
    assert len(set(known)) > 1


def test_the_index_is_sorted_by_points_on_a_desk_and_on_a_phone(opened):
    desk, phone = opened("", DESK), opened("", PHONE)
    desk.tab.locator(".sheets th", has_text="Points").get_by_role("button").click()
    phone.tab.locator(".sort-by select").select_option(label="Points")
    points = desk.column(".sheets", 2)
    known = [float(value) for value in points if value != "–"]
    assert known == sorted(known, reverse=True)
    assert points[len(known) :] == ["–"] * (len(points) - len(known))
    assert [value.split()[-1] for value in phone.column(".sheets", 2)] == points


@pytest.mark.parametrize(("size", "drawn"), [(DESK, "wide"), (PHONE, "narrow")], ids=["desk", "phone"])
def test_the_price_is_drawn_for_the_screen_with_the_dip_marked(opened, size, drawn):
    page = opened("QAL", size)
    visible = "[...document.querySelectorAll('.chart.wide, .chart.narrow')].filter(e => e.offsetParent)"
    assert page.ask(f"{visible}.map(chart => chart.classList[1])") == [drawn]
    assert page.ask(f"{visible}[0].getBoundingClientRect().height") > 150
    assert "35.8% below the 52-week high" in page.ask(f"{visible}[0].getAttribute('aria-label')")
    assert page.ask(f"{visible}[0].querySelectorAll('rect').length") == 1
    texts = f"[...{visible}[0].querySelectorAll('text')].map(text => text.getBoundingClientRect())"
    assert page.ask(f"{texts}.every(box => box.right <= innerWidth && box.height >= 11)")


def test_numbers_line_up_on_the_right(opened):
    page = opened("QAN", DESK)
    right = "[...document.querySelectorAll('td.n, th.n')].map(cell => getComputedStyle(cell).textAlign)"
    assert set(page.ask(right)) == {"right"}


def test_on_paper_it_is_light_fits_the_sheet_and_shows_no_list_to_sort_by(opened):
    for name in ("", "QAL"):
        page = opened(name, PAPER, "dark")
        page.tab.emulate_media(media="print", color_scheme="dark")
        assert page.ask("document.documentElement.scrollWidth") <= PAPER["width"]
        assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.tab.locator(".sort-by").first.is_visible() is False


def test_without_its_script_a_page_reads_the_same(chromium, folder):
    context = chromium.new_context(viewport=DESK, java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto((folder / "plain" / INDEX / "QAL.html").as_uri())
    assert tab.locator("thead button").count() == 0
    assert "Figure" in tab.locator(".compared thead").inner_text()
    context.close()


def test_every_section_has_a_heading_and_every_table_a_caption(opened):
    for name in ("", "QAL", "FUND"):
        page = opened(name, DESK)
        sections = "[...document.querySelectorAll('section')].map(part => part.getAttribute('aria-labelledby'))"
        assert page.ask(f"{sections}.filter(name => !document.getElementById(name)).length") == 0
        assert page.ask("[...document.querySelectorAll('table')].filter(table => !table.caption).length") == 0
        assert page.ask("document.querySelectorAll('h1').length") == 1


def test_only_a_simulated_page_says_so_and_before_anything_else(opened):
    assert opened("QAL", PHONE).ask("document.body.innerText").startswith("SIMULATED")
    assert "SIMULATED" not in opened("QAL", PHONE, root="real").ask("document.body.innerText")
