"""The briefing as text: what it says, and that it says it safely."""

from __future__ import annotations

import math
import re
from datetime import datetime

import polars as pl
import pytest

from trading_pipeline.reports.briefing import (
    TOP_DIPS,
    contributions,
    issue_counts,
    regime_sentence,
    render,
    streak_sentence,
)
from trading_pipeline_tests.briefings import SESSION, briefing_inputs, dip_rows, quiet_inputs, regime_rows

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def page() -> str:
    return render(briefing_inputs())


@pytest.fixture(scope="module")
def quiet_page() -> str:
    return render(quiet_inputs())


def text(html: str) -> str:
    """What a reader sees: without styles, drawings and tags, white space collapsed."""
    html = re.sub(r"<(style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page):
    assert not re.findall(r"<(?:script|link|img|iframe|object)\b", page)
    assert not re.findall(r"(?:https?:)?//[\w.]+", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))
    assert "default-src 'none'" in page
    assert len(page.encode()) < 500_000


def test_the_same_inputs_make_the_same_page(page):
    assert render(briefing_inputs()) == page


def test_the_headline_is_the_environment_in_a_sentence(page):
    assert "Environment B, Bull" in page
    assert "SPY is 8.3% above its 200-session average" in text(page)
    assert "3 distribution days in 25 sessions (-1)" in text(page)


def test_every_dip_is_listed_once_deepest_first(page):
    dips = dip_rows()
    listed = re.findall(r'<th scope="row"[^>]*>(?:<span class="ticker">)?(Q\w\w|X\w\w)<', page)
    in_section = listed[: dips.height]
    assert in_section == dips.sort("dip_pct", descending=True)["ticker"].to_list()
    assert page.index("<details>") > page.index(in_section[TOP_DIPS - 1])
    assert f"{dips.height - TOP_DIPS} more dips" in page


def test_numbers_are_shown_as_in_the_frame(page):
    deepest = dip_rows().sort("dip_pct", descending=True).row(0, named=True)
    row = text(page[page.index(deepest["ticker"] + "</span>") :])[:400]
    for shown in (
        f"{deepest['dip_pct']:.1f}%",
        f"{deepest['price']:,.2f}",
        f"{deepest['high_252']:,.2f}",
        f"{deepest['sessions_since_high']} sessions",
        f"{abs(contributions(dip_rows())['company_part'][0]) * 100:.1f}%",
        f"{deepest['drawdown_percentile'] * 100:.0f}%",
    ):
        assert shown in row


def test_a_doubtful_bar_is_marked_and_an_unsplit_fall_says_why(page):
    suspect = dip_rows().filter(pl.col("data_quality") == "suspect")["ticker"].item()
    assert re.search(rf"{suspect}</span>\s*<span class=\"badge\">suspect", page)
    assert "not split: too little history" in page


def test_what_was_quarantined_is_told_by_rule_the_gravest_first(page):
    shown = text(page)
    assert "5 issues on 4 rules, seen from 1 Jul 2024 to 5 Jul 2024." in shown
    assert "A price 100 times too large or small" in shown
    assert "close 12,340.00 is 100.2 x the day before (123.14)" in shown
    assert issue_counts(briefing_inputs().issues)["severity"].to_list() == ["rejected", "bad", "suspect", "suspect"]


def test_a_universe_below_its_threshold_is_named_in_words(page):
    assert re.search(r"MEGA_CAP 30 22 73\.3% ▼ under 80%", text(page))
    assert "SPX500 503 498 99.0%" in text(page)


def test_the_moments_behind_the_page_are_told(page):
    assert "5 Jul 2024, 18:00 EDT (22:00 UTC)" in page
    assert "5 Jul 2024, 21:30 EDT (6 Jul 2024, 01:30 UTC)" in page


def test_a_simulated_page_says_so_in_title_and_header_and_a_real_one_does_not(page, quiet_page):
    assert "<title>SIMULATED · US market briefing, Friday 5 July 2024</title>" in page
    assert "Every company, price and number on this page is fictional" in page
    assert "SIMULATED" not in text(quiet_page)
    assert "<title>US market briefing, Friday 5 July 2024</title>" in quiet_page


def test_the_week_is_told_on_its_last_session_only(page, quiet_page):
    assert "The week to Friday 5 July 2024" in page
    assert "Compared with" not in quiet_page


def test_empty_states_read_well(quiet_page):
    shown = text(quiet_page)
    assert "No member is 5% or more below its 52-week high." in shown
    assert "The equal-weighted mean of the members is 8.3% above" in shown
    assert "No bars of the index are at hand" in shown
    assert "Every bar passed every rule." in shown
    assert "No universe was loaded for this session." in shown


def test_a_session_without_a_regime_says_so():
    shown = text(render(briefing_inputs(regime=regime_rows("BB").clear(), week=None)))
    assert "No environment was published for this session" in shown
    assert "48 members are 5% or more below" in shown


def test_unknown_values_are_dashes_not_errors():
    nullable = ["index_vs_sma_50", "index_vs_sma_200", "breadth_50", "breadth_200", "volatility", "distribution_days"]
    regime = regime_rows("BB").with_columns(pl.lit(None).cast(pl.Float64).alias(name) for name in nullable)
    dips = dip_rows().with_columns(
        pl.lit(None).cast(pl.Float64).alias(name)
        for name in ("market_part", "sector_part", "company_part", "drawdown_percentile")
    )
    shown = text(render(briefing_inputs(regime=regime, dips=dips, prices=briefing_inputs().prices.clear())))
    assert "Too little history to say more." in shown
    assert "no history" in shown
    assert not re.search(r"\b(None|nan)\b", shown)


def test_what_comes_with_the_data_is_text_and_never_markup():
    one = dip_rows().head(1)
    issue = briefing_inputs().issues.head(1)
    week = briefing_inputs().week
    hostile = pl.lit(HOSTILE)
    page = render(
        briefing_inputs(
            dips=pl.concat([one.with_columns(ticker=hostile, sector=hostile, data_quality=hostile), dip_rows()[1:]]),
            issues=issue.with_columns(ticker=hostile, rule=hostile, detail=hostile),
            regime=regime_rows().with_columns(benchmark=hostile, reasons=hostile),
            coverage=briefing_inputs().coverage.with_columns(universe=hostile),
            provider=HOSTILE,
            week=type(week)(**{**vars(week), "benchmark": HOSTILE, "recovered": (HOSTILE,)}),
        )
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 9


def test_the_parts_shown_add_up_to_the_total_return_and_never_beyond_a_total_loss():
    crash = dip_rows(1).with_columns(fall=-2.19, market_part=-0.46, sector_part=-0.07, company_part=-1.66)
    shown = contributions(crash).row(0, named=True)
    parts = [shown[f"{name}_part"] for name in ("market", "sector", "company")]
    assert sum(parts) == pytest.approx(math.expm1(-2.19))
    assert parts[2] / sum(parts) == pytest.approx(1.66 / 2.19)
    flat = dip_rows(1).with_columns(fall=0.0, market_part=-0.1, sector_part=0.04, company_part=0.06)
    assert contributions(flat).select("market_part", "company_part").row(0) == (-0.1, 0.06)


def test_how_long_the_environment_has_lasted():
    assert streak_sentence(regime_rows("CCBBB"), SESSION) == "Environment B for 3 sessions, since 2 Jul 2024; C before."
    assert streak_sentence(regime_rows("BBC"), SESSION) == "Changed today from environment B."
    assert streak_sentence(regime_rows("AAA"), SESSION) == "Environment A in all 3 sessions shown."
    assert streak_sentence(regime_rows("A"), SESSION) == ""


def test_the_sentence_leaves_out_what_is_not_known():
    regime = {**regime_rows("D").row(0, named=True), "index_vs_sma_200": -0.031, "breadth_200": None}
    expected = "SPY is 3.1% below its 200-session average and implied volatility stands at 14.2%."
    assert regime_sentence(regime) == expected


def test_a_frame_without_its_columns_is_refused_by_name():
    with pytest.raises(ValueError, match="coverage frame lacks threshold"):
        briefing_inputs(coverage=briefing_inputs().coverage.drop("threshold"))


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match="as_of is naive"):
        briefing_inputs(as_of=datetime(2024, 7, 5, 22, 0))  # noqa: DTZ001
