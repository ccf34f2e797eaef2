"""Order, selection and plain language of what was decided."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.reports import decisions
from trading_pipeline.tables import EARNINGS_CALENDAR, SCREENER_SCORES
from trading_pipeline_tests.briefings import SESSION, analysis_rows, dip_rows, earnings_rows, report, score, score_rows
from trading_pipeline_tests.tearsheets import member_rows


def scores(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCREENER_SCORES.schema)


def test_a_verdict_comes_before_a_total_and_equal_ones_are_in_order_of_their_ids():
    given = scores(
        score("DEBT", "Hold", 79.9),
        score("NONE", "No verdict", None),
        score("ZZZ", "Buy", 66.0),
        score("AAA", "Buy", 66.0),
        score("BEST", "Strong Buy", 75.0),
        score("POOR", "Avoid", 90.0),
    )
    order = decisions.ranked(given)
    assert order["ticker"].to_list() == ["BEST", "AAA", "ZZZ", "DEBT", "POOR", "NONE"]
    assert order["rank"].to_list() == [1, 2, 3, 4, 5, 6]
    assert decisions.ranked(given.reverse()).equals(order)


def test_the_last_bits_of_a_total_do_not_decide_a_rank():
    given = scores(score("ZZZ", "Buy", 66.0 + 1e-12), score("AAA", "Buy", 66.0))
    assert decisions.ranked(given)["ticker"].to_list() == ["AAA", "ZZZ"]


def test_the_desk_begins_with_what_may_be_bought():
    dips = dip_rows()
    desk = decisions.desk(dips, analysis_rows(dips))
    assert desk.height == dips["on_desk"].sum()
    actions = [decisions.ACTIONS.index(action) for action in desk["action"]]
    assert actions == sorted(actions)
    assert desk.filter(pl.col("action") == "buy")["total"].is_sorted(descending=True)


def test_a_dip_without_words_stays_on_the_desk_at_its_end():
    dips = dip_rows()
    words = analysis_rows(dips).filter(pl.col("ticker") != "QAN")
    desk = decisions.desk(dips, words)
    assert desk["ticker"][-1] == "QAN"
    assert desk["action"][-1] is None


@pytest.mark.parametrize(
    ("session", "reports", "expected"),
    [
        (date(2024, 7, 3), date(2024, 7, 3), "this week"),
        (date(2024, 7, 3), date(2024, 7, 7), "this week"),
        (date(2024, 7, 3), date(2024, 7, 8), "next week"),
        (date(2024, 7, 3), date(2024, 7, 14), "next week"),
        (date(2024, 7, 3), date(2024, 7, 15), None),
        (date(2024, 7, 3), date(2024, 7, 2), None),
        (date(2024, 7, 5), date(2024, 7, 14), "next week"),
    ],
)
def test_reports_ahead_reach_to_the_end_of_next_week(session, reports, expected):
    calendar = pl.DataFrame([report("AAA", 0, next_report_date=reports)], schema=EARNINGS_CALENDAR.schema)
    ahead = decisions.reports_ahead(calendar, session, {"us:AAA"})
    assert ahead["week"].to_list() == ([expected] if expected else [])
    assert decisions.reports_ahead(calendar, session, {"us:BBB"}).is_empty()


def test_reports_of_a_day_come_in_the_order_they_are_told():
    days = {"AMC": "amc", "ZBMO": "bmo", "WHEN": "unknown"}
    rows = [report(ticker, 3, next_timing=timing) for ticker, timing in days.items()]
    ahead = decisions.reports_ahead(
        pl.DataFrame(rows, schema=EARNINGS_CALENDAR.schema), SESSION, [f"us:{ticker}" for ticker in days]
    )
    assert ahead["ticker"].to_list() == ["ZBMO", "AMC", "WHEN"]


def test_leaders_dips_on_the_desk_and_the_watchlist_get_a_tearsheet_once_each():
    dips = dip_rows()
    chosen = decisions.selected(score_rows(), dips, member_rows(), 3)
    assert chosen[:3] == decisions.ranked(score_rows())["instrument_id"][:3].to_list()
    assert set(chosen) == {*chosen[:3], *dips.filter("on_desk")["instrument_id"], "us:TOPS", "us:WATCH", "us:THIN"}
    assert len(chosen) == len(set(chosen))
    assert decisions.selected(score_rows().clear(), dips.clear(), member_rows().clear(), 20) == []


def test_a_verdict_says_what_it_means_and_what_is_best_and_worst():
    line = decisions.verdict_line(score("AAA", "Buy", 66.0))
    assert line == (
        "More speaks for it than against it. 7.3 points short of Strong Buy. "
        "Best is its figures (71 of 100), worst its sector (45)."
    )


def test_a_verdict_says_what_holds_it_back():
    debt = decisions.verdict_line(score("AAA", "Hold", 79.9, gates_failed="solvency_debt,fund_age", points_to_next=0.0))
    assert "It fails these checks, whatever its points: can carry its debt, fund age." in debt
    trap = decisions.verdict_line(score("AAA", "Hold", 66.0, flags="value_trap", points_to_next=0.0))
    assert "Its points would make it a Buy, but it may be a value trap." in trap
    thin = decisions.verdict_line(score("AAA", "Hold", 66.0, points_to_next=0.0))
    assert "Its points would make it a Buy, but too little is known about it." in thin


def test_the_place_among_peers_is_told_in_words():
    assert (
        decisions.peer_line(score("AAA", "Buy", 66.0)) == "Ahead of 81% of its sector and ahead of 74% of large-caps."
    )
    alone = score("AAA", "Buy", 66.0, sector_percentile=100.0, size_bucket="unknown")
    assert decisions.peer_line(alone) == "The best of its sector."
    assert decisions.peer_line({**alone, "sector_percentile": None}) == ""


def test_without_a_total_the_line_says_how_little_is_known():
    line = decisions.verdict_line(score("AAA", "No verdict", None, confidence=0.22))
    assert line == "Too little is known to judge it: 22% of the inputs."


def test_a_part_without_a_weight_is_neither_best_nor_worst():
    fund = score("FUND", "Buy", 70.0, sector_score=3.0, weight_sector=0.0)
    assert "sector" not in decisions.verdict_line(fund)


def test_a_size_is_a_share_and_an_amount():
    words = {"size_low": 0.02, "size_high": 0.04, "size_low_amount": 2000.0, "size_high_amount": 4000.0}
    assert decisions.size(words, "USD") == "2–4 %, $2,000–4,000"
    assert decisions.size({**words, "size_high": 0.0}, "USD") == "–"
    assert decisions.size({**words, "size_high": None}, "USD") == "–"


def test_names_that_are_not_known_are_spelled_out():
    assert decisions.cause_name("ex_dividend") == "Dividend"
    assert decisions.cause_name("solar_flare") == "solar flare"
    assert decisions.cause_name(None) == "Not told"
    assert decisions.flag_words("value_trap,new_flag") == ["cheap, with signs that it deserves to be", "new flag"]
    assert decisions.timing("amc") == "after the close"
    assert decisions.timing(None) == "time unknown"


def test_tickers_come_from_the_first_frame_that_knows_them():
    renamed = earnings_rows(dip_rows()).head(1).with_columns(ticker=pl.lit("OLD"))
    assert decisions.tickers_of(dip_rows(), renamed)["us:QAL"] == "QAL"
