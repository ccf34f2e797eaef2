"""What an alert says, in the words every channel shares."""

from __future__ import annotations

import json

import polars as pl
import pytest

from trading_pipeline.alerts.dips import DipAlert, dip_alerts
from trading_pipeline.alerts.facts import subject
from trading_pipeline.tables.dips import CAUSE_COLUMNS, DIP_ANALYSIS, DIP_OPPORTUNITIES
from trading_pipeline_tests.dip_alerts import FRIDAY, dip


def test_the_facts_in_words():
    said = dip()
    assert said.headline == "AAA: 12.3% below its 52-week high"
    assert said.crossing == "Passed 10%, new on the desk"
    assert said.size == "2–4% of the portfolio, $2,000–4,000"
    assert said.prices == "87.70, high 100.00 21 sessions ago"
    assert said.cause_in_words == "Its report (71% of the fall), temporary"
    assert said.score == "Buy, grade B, 74 of 100"
    assert said.next_report == "In 58 sessions"
    assert (said.suspect, said.words_by) == (None, "Words by the rules")


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"previous_threshold_pct": 5.0}, "crossing", "Passed 10%, was past 5%"),
        ({"action": "wait"}, "size", "–"),
        ({"size_high": 0.02, "size_high_amount": 2000.0}, "size", "2% of the portfolio, $2,000"),
        ({"market": "asx"}, "size", "2–4% of the portfolio, A$2,000–4,000"),
        ({"cause_share": None, "cause": "macro"}, "cause_in_words", "The whole market, temporary"),
        ({"verdict": None, "total": None, "grade": None}, "score", "Not scored"),
        ({"gates_failed": "liquidity,solvency"}, "score", "Buy, grade B, 74 of 100; fails liquidity, solvency"),
        ({"sessions_to_report": 0}, "next_report", "Today"),
        ({"sessions_to_report": 1}, "next_report", "In 1 session"),
        ({"sessions_to_report": None}, "next_report", None),
        ({"data_quality": "suspect"}, "suspect", "Its bar is marked suspect: check the price first."),
        ({"source": "claude", "model": "claude-x"}, "words_by", "Words by claude-x"),
    ],
)
def test_what_differs_is_said_differently(changed, name, words):
    assert getattr(dip(**changed), name) == words


def test_the_subject_counts_and_names_a_fictional_world():
    assert subject([dip()]) == "SIMULATED: 1 new dip on the US dip desk, 15 Mar 2024"
    assert subject([dip("A", world="real"), dip("B", world="real")]) == "2 new dips on the US dip desk, 15 Mar 2024"


def test_it_comes_back_from_the_outbox_as_it_went_in():
    original = dip(why="It said \x00 “no” <b>twice</b> 🙂", total=float("nan"))
    kept = original.alert()
    assert (kept.market, kept.session, kept.instrument_id, kept.threshold_pct) == ("us", FRIDAY, "us:AAA", 10.0)
    assert "\\u0000" not in json.dumps(kept.payload)
    assert kept.payload["total"] is None
    assert DipAlert.model_validate(json.loads(json.dumps(kept.payload))) == original


def frames(tickers, analysed):
    """Rows of new dips and of the analyses, in every column that the tables declare."""
    facts = {name: [getattr(dip(ticker), name, None) for ticker in tickers] for name in DipAlert.model_fields}
    columns = [*DIP_OPPORTUNITIES.columns, *(c for c in CAUSE_COLUMNS if c.name not in DIP_OPPORTUNITIES.names)]
    schema = {column.name: column.dtype for column in columns} | {"previous_threshold_pct": pl.Float64}
    new = pl.DataFrame({name: facts.get(name, [None] * len(tickers)) for name in schema}, schema=schema)
    words = pl.DataFrame(
        {name: facts.get(name, [None] * len(tickers)) for name in DIP_ANALYSIS.names}, schema=DIP_ANALYSIS.schema
    )
    return new, words.filter(pl.col("ticker").is_in(analysed))


def test_every_fact_comes_from_the_tables_as_declared_and_waits_for_its_analysis():
    new, words = frames(["BBB", "AAA", "CCC"], ["AAA", "BBB"])
    assert dip_alerts("simulated", "us", new, words) == [dip("AAA"), dip("BBB")]
