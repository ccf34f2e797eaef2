"""The briefing as text: what it says, and that it says it safely."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from datetime import datetime

import polars as pl
import polars.selectors as cs
import pytest

from trading_pipeline.reports.briefing import (
    TOP_DIPS,
    TOP_LEADERS,
    contributions,
    issue_counts,
    regime_sentence,
    render,
    streak_sentence,
)
from trading_pipeline_tests.briefings import (
    SESSION,
    TEARSHEETS,
    analysis_rows,
    briefing_inputs,
    dip_rows,
    earnings_rows,
    quiet_inputs,
    regime_rows,
    score_rows,
)

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def page() -> str:
    return render(briefing_inputs())


@pytest.fixture(scope="module")
def quiet_page() -> str:
    return render(quiet_inputs())


def text(page: str) -> str:
    """What a reader sees: without styles, script, drawings and tags, white space collapsed."""
    page = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def section(page: str, name: str) -> str:
    """The section of that id."""
    return page[page.index(f'<section aria-labelledby="{name}"') :].partition("</section>")[0]


def test_the_page_needs_nothing_from_outside_and_runs_its_own_script_alone(page):
    assert not re.findall(r"<(?:link|img|iframe|object)\b|<script[^>]+src", page)
    assert not re.findall(r"(?:https?:)?//[a-z][\w.]+\.", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))
    [script] = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert html.unescape(policy) == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert len(page.encode()) < 500_000


def test_the_same_inputs_make_the_same_page(page):
    assert render(briefing_inputs()) == page


def test_the_headline_is_the_environment_in_a_sentence(page):
    assert "Environment B, Bull" in page
    assert "SPY is 8.3% above its 200-session average" in text(page)
    assert "3 distribution days in 25 sessions (-1)" in text(page)


def test_every_dip_is_listed_once_deepest_first(page):
    dips = dip_rows()
    in_section = re.findall(r'<th scope="row"[^>]*>\s*<(?:span|a)\b[^>]*>(Q\w\w|X\w\w)<', section(page, "dips"))
    assert in_section == dips.sort("dip_pct", descending=True)["ticker"].to_list()
    dips_section = section(page, "dips")
    assert dips_section.index("<details>") > dips_section.index(in_section[TOP_DIPS - 1])
    assert f"{dips.height - TOP_DIPS} more dips" in page


def test_numbers_are_shown_as_in_the_frame(page):
    deepest = dip_rows().sort("dip_pct", descending=True).row(0, named=True)
    dips_section = section(page, "dips")
    row = text(dips_section[dips_section.index(f">{deepest['ticker']}<") :])[:400]
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


def test_the_leaders_come_best_verdict_first_with_their_parts_and_a_plain_line(page):
    shown = section(page, "leaderboard")
    assert "53 members were judged: 11 Strong Buy, 11 Buy, 12 Hold, 9 Avoid, 10 No verdict." in text(shown)
    rows = re.findall(r'<tr role="row">\s*<td role="cell" class="n rank">.*?</tr>', shown, flags=re.DOTALL)
    assert len(rows) == TOP_LEADERS
    first = text(rows[0])
    assert re.search(r"1 TOPS Topsail Instruments Strong Buy A 81\.6 71 88 58 45 92 Mon 8 Jul", first)
    assert "Nearly everything that is measured speaks for it. Best is news, earnings and analysts (92 of 100)" in first


def test_a_name_opens_its_tearsheet_only_where_there_is_one(page):
    linked = set(re.findall(r'<a [^>]*href="(\.\./[^"]+)"', page))
    assert linked == set(TEARSHEETS.values())
    assert "All tearsheets of this session" in page
    without = render(briefing_inputs(tearsheets={}))
    assert "<a " not in without


def test_the_desk_says_why_what_to_do_and_how_much_what_may_be_bought_first(page):
    shown = text(section(page, "desk"))
    assert "24 names on the desk are 5% or more below the 52-week high: 10 to buy, 5 to wait for, 9 to avoid." in shown
    assert "QAN Energy 24.5% Strong Buy A Company 60% of it Buy 2–4 % $2,000–4,000" in shown
    assert "Do not buy yet, keep it on the list." in shown
    assert shown.index("QAL ") > shown.index("XON ") > shown.index("QAN ")
    assert "4 more names on the desk" in shown


def test_reports_of_this_week_and_next_are_those_of_the_names_on_the_page(page):
    shown = text(section(page, "reports"))
    assert "TOPS But yahoo: 2024-07-10 amc Mon 8 Jul next week, before the open Strong Buy A 100% of 10 4.1%" in shown
    assert "DEBT" not in shown
    quiet = earnings_rows(dip_rows()).with_columns(next_report_date=pl.lit(SESSION.replace(month=9)))
    said = text(section(render(briefing_inputs(earnings=quiet)), "reports"))
    assert re.search(r"None of the \d+ names on this page reports this week or next\.", said)


def test_missing_reference_data_is_a_line_and_no_empty_table(quiet_page):
    shown = text(quiet_page)
    assert "No scores were published for this session, so there is no leaderboard." in shown
    assert "No name on the desk is 5% or more below its 52-week high." in shown
    assert "No earnings calendar is at hand" in shown
    for name in ("leaderboard", "desk", "reports"):
        assert "<table" not in section(quiet_page, name)


def test_what_verdicts_and_causes_rest_on_without_figures_and_news_is_said():
    bare = score_rows().with_columns(fundamental=pl.lit(None, pl.Float64))
    silent = dip_rows().with_columns(pl.lit(None, pl.String).alias("cause"), cause_share=pl.lit(None, pl.Float64))
    words = analysis_rows(dip_rows()).clear()
    shown = text(render(briefing_inputs(scores=bare, dips=silent, analysis=words, articles=0)))
    assert "No company's figures are at hand" in shown
    assert "No news is at hand: causes rest on prices and the calendar alone." in shown
    assert "No words were published for this session" in shown
    assert "Its cause was not told." in shown
    untold = dip_rows().with_columns(on_desk=pl.lit(None, pl.Boolean))
    assert "No causes were told for this session" in text(render(briefing_inputs(dips=untold)))


def test_the_last_bits_of_a_number_do_not_change_the_page(page):
    """They depend on how long a range it was computed in."""
    full = briefing_inputs()
    frames = ("scores", "dips", "analysis", "earnings")
    nudged = {name: getattr(full, name).with_columns(cs.float() * (1 + 1e-13)) for name in frames}
    assert render(briefing_inputs(**nudged)) == page


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
            scores=score_rows().with_columns(ticker=hostile, sector=hostile, flags=hostile, gates_failed=hostile),
            analysis=analysis_rows(dip_rows()).with_columns(why=hostile, play=hostile, action=hostile),
            earnings=earnings_rows(dip_rows()).with_columns(ticker=hostile, disagreement=hostile),
            names=pl.DataFrame({"instrument_id": ["us:TOPS"], "name": [HOSTILE]}),
            tearsheets={"us:TOPS": HOSTILE},
            week=type(week)(**{**vars(week), "benchmark": HOSTILE, "recovered": (HOSTILE,)}),
        )
    )
    assert page.count("<script") == 1
    assert page.count("&lt;script&gt;") >= 20


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
