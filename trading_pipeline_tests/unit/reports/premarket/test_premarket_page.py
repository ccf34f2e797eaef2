"""The premarket page as text: what it says of a morning, what it says it does not know, and that it says it safely."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from trading_pipeline.markets import ASX
from trading_pipeline.reports.premarket import place_of, render
from trading_pipeline.reports.premarket.page import TOP_BIASES, TOP_GAPS
from trading_pipeline.reports.premarket.words import EVENTS
from trading_pipeline_tests.premarkets import empty_inputs, premarket_inputs, silent

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def inputs():
    return premarket_inputs()


@pytest.fixture(scope="module")
def page(inputs):
    return render(inputs)


def text(page: str) -> str:
    """What a reader sees."""
    page = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def section(page: str, name: str) -> str:
    marked = page.index(f'aria-labelledby="{name}"')
    return page[marked:].partition("</section>")[0]


def row_of(page: str, ticker: str) -> str:
    """The row of a ticker in the table of all names."""
    rows = re.findall(r'<tr role="row">\s*<th scope="row".*?</tr>', section(page, "names"), flags=re.DOTALL)
    [mine] = [row for row in rows if f">{ticker}<" in row]
    return text(mine)


def tickers(page: str, name: str) -> list[str]:
    return re.findall(r'<th scope="row"[^>]*>\s*<(?:span|a)\b[^>]*>([A-Z0-9]+)<', section(page, name))


def test_the_page_needs_nothing_from_outside(page):
    assert not re.findall(r"<(?:link|img|iframe|object)\b|<script[^>]+src", page)
    assert not re.findall(r"(?:https?:)?//[a-z][\w.]+\.", page)


def test_the_same_inputs_make_the_same_page(page, inputs):
    assert render(replace(inputs)) == page


def test_the_market_is_one_line_with_the_environment_of_the_close_before(page, inputs):
    shown = text(section(page, "market"))
    assert "Environment B, Bull at the close of Tue 2 Dec" in shown
    gaps = inputs.snapshots["gap_pct"].drop_nulls()
    side = "above" if gaps.median() > 0 else "below"
    assert f"The median watched name trades {abs(gaps.median()):.2f}% {side} yesterday's close" in shown
    assert "The index itself is not watched." in shown


def test_the_index_leads_the_line_where_it_is_watched(inputs):
    row = inputs.snapshots.drop_nulls("gap_pct").row(0, named=True)
    shown = text(render(replace(inputs, benchmark=row["instrument_id"])))
    side = "above" if row["gap_pct"] > 0 else "below"
    assert f"{row['ticker']} trades {abs(row['gap_pct']):.2f}% {side} yesterday's close" in shown
    assert "not watched." not in text(section(render(replace(inputs, benchmark=row["instrument_id"])), "market"))


@pytest.mark.parametrize(
    ("taken", "said", "unsaid"),
    [("live", "Taken live, with what was known at", "Rebuilt"), ("rebuilt", "Rebuilt Made later from", "Taken live")],
)
def test_whether_it_was_taken_live_or_rebuilt_is_said(taken, said, unsaid):
    shown = text(section(render(premarket_inputs(taken=taken)), "market"))
    assert said in shown
    assert unsaid not in shown
    assert "08:30 EST (13:30 UTC)" in shown


def test_one_rebuilt_name_makes_a_rebuilt_page(inputs):
    one = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("rebuilt")).otherwise(pl.lit("live"))
    assert replace(inputs, snapshots=inputs.snapshots.with_columns(taken=one)).taken == "rebuilt"


def test_gaps_come_largest_first_up_and_down_apart(page, inputs):
    known = inputs.snapshots.drop_nulls("gap_pct").sort("gap_pct")
    up = known.filter(pl.col("gap_pct") > 0.005).reverse().head(TOP_GAPS)["ticker"].to_list()
    down = known.filter(pl.col("gap_pct") < -0.005).head(TOP_GAPS)["ticker"].to_list()
    assert up and down
    assert tickers(page, "gaps") == [*up, *down]


def test_a_gap_is_explained_by_events_headlines_and_its_sector_or_said_not_to_be(page, inputs):
    shown = text(section(page, "gaps"))
    assert "Headline a" in shown and "Nothing that is known explains it." in shown
    happening = inputs.bias.filter((pl.col("events") != "") & pl.col("ticker").is_in(tickers(page, "gaps")))
    assert happening.height
    for ticker, events in happening.select("ticker", "events").iter_rows():
        row = shown[shown.index(f" {ticker} ") :]
        assert all(EVENTS[event] in row[:200] for event in events.split(","))


def test_the_strongest_biases_are_the_surest_with_their_reasons(page, inputs):
    for bias in ("long", "short"):
        ordered = inputs.bias.filter(pl.col("bias") == bias).sort("confidence", descending=True)
        named = ordered.head(TOP_BIASES)["ticker"].to_list()
        assert named
        assert [each for each in tickers(page, "biases") if each in named] == named
        reason = ordered["reasons"][0].splitlines()[0]
        assert reason in text(section(page, "biases")).replace(" :", ":")


def test_nothing_is_said_to_be_certain(page, inputs):
    """And what a share of certainty means is said where it is shown."""
    assert inputs.bias["confidence"].max() < 1 and "100% sure" not in text(page)
    assert "how clearly it points one way, not how often it comes true" in text(section(page, "biases"))


def test_every_watched_name_has_a_row_unknown_ones_last(page, inputs):
    shown = tickers(page, "names")
    assert sorted(shown) == sorted(inputs.bias["ticker"])
    without = set(inputs.snapshots.filter(pl.col("price").is_null())["ticker"])
    assert without and set(shown[-len(without) :]) == without


def test_a_name_that_has_not_traded_is_unknown_and_not_zero(page, inputs):
    without = inputs.snapshots.filter(pl.col("price").is_null() & (pl.col("premarket_volume") == 0))
    assert without.height
    for ticker, close in without.select("ticker", "previous_close").iter_rows():
        row = row_of(page, ticker)
        assert "Not traded yet this morning: where it opens is unknown." in row
        assert f"– closed {close:,.2f} – – no trade" in row
        assert "0.00%" not in row and "0.0×" not in row
        assert "at the close" in row


def test_a_price_without_volume_is_volume_that_was_not_told(page, inputs):
    untold = inputs.snapshots.filter(pl.col("price").is_not_null() & pl.col("premarket_volume").is_null())
    assert untold.height
    for ticker in untold["ticker"]:
        assert "– not told" in row_of(page, ticker)
    assert "No volume before the open was told of 1 name (provider: simulated)." in text(section(page, "unknown"))


def test_numbers_are_shown_as_in_the_tables(page, inputs):
    rows = inputs.snapshots.join(inputs.bias.select("instrument_id", "bias", "confidence"), on="instrument_id")
    for row in rows.drop_nulls(["price", "premarket_relative_volume", "month_position", "band"]).iter_rows(named=True):
        shown = row_of(page, row["ticker"])
        for number in (
            f"{row['price']:,.2f}",
            f"{abs(row['gap_pct']):.2f}%",
            f"{row['premarket_relative_volume']:.1f}×",
            f"{abs(100 * row['month_position']):.0f}%",
            f"{abs(row['band']):.1f}σ",
            f"{100 * row['confidence']:.0f}% sure",
        ):
            assert number in shown, row["ticker"]
        assert row["bias"].capitalize() in shown


def test_todays_events_are_there_with_the_usual_move_and_who_else_reports(page, inputs):
    shown = text(section(page, "today"))
    for events in inputs.bias.filter(pl.col("events") != "")["events"]:
        assert events
    assert "Reports during the session" in shown and "Ex-dividend" in shown
    assert "5.2%" in shown and "78% of 9" in shown
    assert "Not watched, and reporting today: ELSE (after the close)." in shown


def test_a_dip_on_the_desk_that_gaps_shows_where_it_is_now(page, inputs):
    gaps = inputs.snapshots.select("instrument_id", "gap_pct")
    desk = inputs.dips.join(gaps, on="instrument_id").filter(pl.col("gap_pct").abs() >= 1)
    assert desk.height
    assert sorted(tickers(page, "desk")) == sorted(desk["ticker"])
    shown = text(section(page, "desk"))
    for row in desk.iter_rows(named=True):
        now = 100 - (100 - row["dip_pct"]) * (1 + row["gap_pct"] / 100)
        assert re.search(rf"{row['dip_pct']:.1f}%\s+{now:.1f}%", shown)


def test_sectors_are_ranked_by_their_median(page, inputs):
    rows = inputs.watched.drop_nulls("gap_pct").with_columns(pl.col("sector").fill_null("Sector unknown"))
    medians = rows.group_by("sector").agg(pl.col("gap_pct").median()).sort("gap_pct", descending=True)
    named = re.findall(r'<tr><th scope="row">([^<]+)</th>', section(page, "sectors"))
    assert named == medians["sector"].to_list()


def test_tearsheets_and_the_briefing_are_linked_where_they_exist(page, inputs):
    assert set(re.findall(r'href="([^"]+)"', page)) == {*inputs.tearsheets.values(), inputs.briefing}
    assert "<a " not in render(replace(inputs, tearsheets={}, briefing=None))


def test_a_morning_without_a_trade_reads_as_unknown(inputs):
    quiet = render(replace(inputs, snapshots=silent(inputs.snapshots, 0.0)))
    assert "No watched name has traded this morning" in text(quiet)
    assert "No watched name has a price of this morning." in text(section(quiet, "gaps"))
    assert "16 of 16 names have no price of this morning: they had not traded." in text(quiet)
    assert "+0.00%" not in quiet
    assert "Median gap –" in text(section(quiet, "glance"))


def test_a_provider_that_tells_nothing_before_the_open_is_told_from_silence(inputs):
    dark = text(render(replace(inputs, snapshots=silent(inputs.snapshots, None))))
    assert "they had not traded, or nobody told" in dark
    assert "No price of this morning is known: where it opens is unknown." in dark


def test_without_a_provider_and_without_news_it_says_so(inputs):
    mute = inputs.bias.with_columns(pl.col("inputs").str.replace('"any_news":true', '"any_news":false', literal=True))
    shown = text(section(render(replace(inputs, provider=None, bias=mute)), "unknown"))
    assert "INTRADAY_PROVIDER names one" in shown
    assert "No article came since the close" in shown


def test_an_exchange_without_a_premarket_says_so(inputs):
    shown = render(replace(inputs, market=ASX, snapshots=silent(inputs.snapshots, None)))
    assert "Nothing trades on XASX before the open" in text(shown)


def test_a_session_nobody_prepared_is_a_page_all_the_same():
    page = render(empty_inputs())
    assert "Nobody was prepared for this session" in text(page)
    assert "No environment was published for Tue 2 Dec" in text(page)
    assert "All watched names" not in page


def test_a_name_without_a_snapshot_or_without_a_bias_keeps_its_row(inputs):
    one, other = inputs.bias["instrument_id"][:2]
    lacking = replace(
        inputs,
        snapshots=inputs.snapshots.filter(pl.col("instrument_id") != one),
        bias=inputs.bias.filter(pl.col("instrument_id") != other),
    )
    page = render(lacking)
    assert {one[3:], other[3:]} <= set(tickers(page, "names"))
    assert "It has no bar of the last weeks, so there is nothing to compare with." in row_of(page, one[3:])
    assert "1 name: no bias was published." in text(page)


def test_a_half_day_says_when_it_ends(inputs):
    short = render(replace(inputs, session=date(2025, 11, 28), previous=date(2025, 11, 26)))
    assert "Trades from 09:30 EST to 13:00, a short session." in text(short)
    assert "a short session" not in text(render(inputs))


def test_what_comes_with_the_data_is_escaped(inputs):
    words = pl.lit(HOSTILE)
    bias = inputs.bias.with_columns(
        reasons=words,
        events=words,
        ticker=words,
        inputs=pl.col("inputs").str.replace_all("Headline", HOSTILE.replace('"', "'"), literal=True),
    )
    page = render(
        replace(
            inputs,
            bias=bias,
            snapshots=inputs.snapshots.with_columns(ticker=words),
            members=inputs.members.with_columns(sector=words),
            names=inputs.names.with_columns(name=words),
            analysis=inputs.analysis.with_columns(play=words),
            provider=HOSTILE,
        )
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_only_a_simulated_page_says_so(inputs, page):
    assert text(page).lstrip().startswith("SIMULATED")
    assert "SIMULATED" not in text(render(replace(inputs, world="real")))


def test_frames_that_lack_columns_and_naive_moments_are_refused(inputs):
    with pytest.raises(ValueError, match="snapshots frame lacks band"):
        replace(inputs, snapshots=inputs.snapshots.drop("band"))
    with pytest.raises(ValueError, match="as_of is naive"):
        replace(inputs, as_of=inputs.as_of.replace(tzinfo=None))


def test_where_it_lies(inputs):
    assert place_of(inputs.market, inputs.session) == "us/reports/premarket_briefing/2025-12-03.html"
