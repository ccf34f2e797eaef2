"""Tearsheets as text: what they say of each kind of name, and that they say it safely."""

from __future__ import annotations

import re

import polars as pl
import polars.selectors as cs
import pytest

from trading_pipeline.reports.tearsheets import render_all
from trading_pipeline_tests.tearsheets import LONG_NAME, article, tearsheet_inputs

HOSTILE = "<script>alert('x')</script>\"&"
FOLDER = "us/reports/tearsheets/2024-07-05"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return render_all(tearsheet_inputs())


def text(page: str) -> str:
    """What a reader sees: without styles, script, drawings and tags, white space collapsed."""
    page = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def sheet(pages: dict[str, str], ticker: str) -> str:
    return text(pages[f"{FOLDER}/{ticker}.html"])


def test_every_chosen_name_has_a_page_and_the_index_comes_last(pages):
    chosen = tearsheet_inputs().chosen
    assert len(pages) == len(chosen) + 1
    assert list(pages)[-1] == f"{FOLDER}.html"
    assert {place.rpartition("/")[2] for place in list(pages)[:-1]} == {f"{id_[3:]}.html" for id_ in chosen}


def test_the_index_links_to_pages_that_exist_and_says_why_each_is_there(pages):
    index = pages[f"{FOLDER}.html"]
    linked = re.findall(r'<a class="ticker" href="([^"]+)"', index)
    assert [f"us/reports/tearsheets/{link}" for link in linked] == list(pages)[:-1]
    assert re.search(r"QAN Qan Works Strong Buy A 78\.2 24\.5% Buy Sun 4 Aug leader 2, dip on the desk", text(index))
    assert re.search(r"WATCH No verdict – – – – watchlist The screener did not judge it", text(index))


def test_links_between_pages_lead_to_pages(pages):
    for place, page in list(pages.items())[:-1]:
        for link in re.findall(r'<a class="ticker" href="([^"]+)"', page):
            assert f"{FOLDER}/{link}" in pages, place
        assert 'href="../2024-07-05.html"' in page


def test_a_page_runs_its_own_script_alone_and_asks_for_nothing(pages):
    for page in pages.values():
        assert page.count("<script") == 1
        assert not re.findall(r"<(?:link|img|iframe|object)\b", page)
        assert "default-src &#39;none&#39;" in page


def test_a_dip_says_why_what_to_do_how_much_and_what_speaks_for_it(pages):
    told = sheet(pages, "QAN")
    assert "The dip: 24.5% below the 52-week high" in told
    assert "Do Buy Size 2–4 % $2,000–4,000 Cause Company 60% of the fall Outlook Temporary" in told
    assert "2024-05-03: −9.2 % after the report" in told
    assert "Words by Claude (claude-sonnet-5-5); the rules decided." in told
    assert "Words by the rules." in sheet(pages, "QIN")


def test_gates_risks_sensitivity_peers_and_events_are_told(pages):
    told = sheet(pages, "QEN")
    assert "Trades enough to get in and out ✓ Passed 812.4 million; at least 5.0 million is asked for" in told
    assert "It is the best verdict there is." in told
    assert "Buy before the report, or wait? The report is far off. It trades on it in 21 sessions" in told
    assert re.search(r"nearest in size, the best verdict first .* XIN Xin Works Strong Buy A 78\.2", told)
    buy = sheet(pages, "QIL")
    assert "7.3 points are missing to Strong Buy. Each of these alone would bring them:" in buy
    assert "Price / earnings – 9.1" in buy


def test_figures_stand_beside_the_medians_of_sector_and_size(pages):
    told = sheet(pages, "QAN")
    assert re.search(r"Price / earnings 11\.0 29\.0 33\.5 100%", told)
    assert "Worth 121.50 USD a share, +17% to the price, if: Growth of 6.0 %" in told


def test_news_is_told_with_its_tone_and_without_any_that_is_said(pages):
    assert "Qal Works cuts its outlook for the year 5 Jul 2024 · The Daily Example" in sheet(pages, "QAL")
    assert "tone bad (−0.42)" in sheet(pages, "QAL")
    assert "No article about it is at hand of the last month." in sheet(pages, "QAN")


def test_a_loss_has_no_multiple_and_a_long_name_is_whole(pages):
    told = sheet(pages, "QAL")
    assert LONG_NAME.replace("&", "&amp;") in told
    assert "Price / earnings – –" in told


def test_a_name_without_figures_and_one_with_bad_ones_say_so(pages):
    assert "No fundamentals are at hand for it on this session." in sheet(pages, "QEM")
    assert "The snapshot of its figures is bad (range_swapped), so none of it is used." in sheet(pages, "QIL")
    assert "Price / earnings –" in sheet(pages, "QIL")


def test_a_name_without_a_verdict_and_one_that_was_never_judged_say_so(pages):
    assert "Too little is known to judge it: 22% of the inputs." in sheet(pages, "THIN")
    assert "There is no verdict to change: too little is known." in sheet(pages, "THIN")
    unjudged = sheet(pages, "WATCH")
    assert "The screener did not judge it on this session." in unjudged
    assert "No history of prices is at hand." in unjudged


def test_a_fund_is_told_as_a_fund(pages):
    told = sheet(pages, "FUND")
    assert "Assets 412 billion Costs a year 0.09%" in told
    assert "TOPS 7.1%, QAL 4.0%." in told
    assert "industrials 31%, health care 22%." in told
    assert "Valuation in context" not in told
    assert "Buy before the report" not in told


def test_every_page_of_a_simulated_world_says_so_and_none_of_a_real_one(pages):
    real = render_all(tearsheet_inputs(world="real"))
    for place, page in pages.items():
        assert "<title>SIMULATED · " in page
        assert "SIMULATED" not in text(real[place])


def test_headlines_lead_to_their_article_in_a_real_world_alone(pages):
    link = '<a href="https://news.example/QAL/0?a=1&amp;b=2" rel="noopener noreferrer nofollow">'
    assert link not in pages[f"{FOLDER}/QAL.html"]
    assert link in render_all(tearsheet_inputs(world="real"))[f"{FOLDER}/QAL.html"]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil.example/x", HOSTILE, None])
def test_an_address_that_is_none_of_the_web_is_no_link(address):
    news = pl.DataFrame([article("QAL", 0, url=address)], schema=tearsheet_inputs().news.schema)
    page = render_all(tearsheet_inputs(world="real", news=news, chosen=("us:QAL",)))[f"{FOLDER}/QAL.html"]
    assert "noopener" not in page


def test_what_comes_with_the_data_is_text_and_never_markup():
    full = tearsheet_inputs()
    bad = pl.lit(HOSTILE)
    texts = {
        "scores": ["sector", "gates", "reasons", "dcf_assumptions", "flags", "verdict", "rules_version"],
        "fundamentals": ["name", "industry", "rules", "provider"],
        "earnings": ["disagreement", "next_timing"],
        "dips": ["evidence", "cause", "sector"],
        "analysis": ["why", "play", "risks", "action", "action_reasons", "outlook", "model"],
        "news": ["title", "publisher", "scope", "url"],
    }
    hostile = {
        name: getattr(full, name).with_columns(bad.alias(column) for column in columns)
        for name, columns in texts.items()
    }
    holdings = full.fundamentals["holdings"].to_list()
    hostile["fundamentals"] = hostile["fundamentals"].with_columns(
        holdings=pl.Series([held and held.replace("TOPS", "<script>") for held in holdings])
    )
    for page in render_all(tearsheet_inputs(provider=HOSTILE, **hostile)).values():
        assert page.count("<script") == 1
        assert "&lt;script&gt;" in page


def test_the_last_bits_of_a_number_do_not_change_a_page(pages):
    """They depend on how long a range it was computed in."""
    full = tearsheet_inputs()
    frames = ("scores", "fundamentals", "earnings", "dips", "analysis", "indicators", "news", "prices")
    nudged = {name: getattr(full, name).with_columns(cs.float() * (1 + 1e-13)) for name in frames}
    assert render_all(tearsheet_inputs(**nudged)) == pages


def test_the_order_of_rows_does_not_change_a_page(pages):
    full = tearsheet_inputs()
    frames = ("scores", "fundamentals", "earnings", "dips", "analysis", "indicators", "news")
    assert render_all(tearsheet_inputs(**{name: getattr(full, name).reverse() for name in frames})) == pages


def test_nothing_chosen_is_an_index_that_says_so():
    pages = render_all(tearsheet_inputs(chosen=()))
    assert list(pages) == [f"{FOLDER}.html"]
    assert "Nobody was chosen" in text(pages[f"{FOLDER}.html"])


def test_unknown_values_are_dashes_not_errors(pages):
    for page in pages.values():
        assert not re.search(r"\b(None|nan|inf)\b", text(page))
