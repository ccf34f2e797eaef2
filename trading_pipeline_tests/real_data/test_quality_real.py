"""The quality rules on what Yahoo really sent: published corrections, and seven years of 199 US tickers."""

from __future__ import annotations

import importlib.util
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.bars.quality import LOOKBACK, Assessment, assess, assess_history

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """benchmarks/quality_report.py, which reads the files and compares with the corrections."""
    path = Path(__file__).parents[2] / "benchmarks" / "quality_report.py"
    spec = importlib.util.spec_from_file_location("quality_report", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quality_report"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def us(real_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars as received, and actions, of the 199 US tickers."""
    raw = pl.read_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet").with_columns(
        pl.col("date").cast(pl.Date).alias("session"),
        pl.col("ticker").alias("instrument_id"),
        pl.col("ticker").alias("symbol"),
        pl.col("volume").cast(pl.Float64),
        pl.lit("files").alias("provider"),
        pl.lit("USD").alias("currency"),
        pl.lit(False).alias("provisional"),
    )
    actions = pl.concat(
        raw.filter(pl.col(column) != 0).select(
            "symbol", "instrument_id", "session", pl.lit(kind).alias("kind"), pl.col(column).alias("value")
        )
        for column, kind in (("dividends", "dividend"), ("splits", "split"))
    )
    return raw.drop("date", "dividends", "splits"), actions


@pytest.fixture(scope="module")
def traded(us: tuple[pl.DataFrame, pl.DataFrame], real_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same as traded: the splits of the file and those after its end undone."""
    bars, actions = us
    later = pl.read_csv(real_data / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True).select(
        pl.col("ticker").alias("symbol"),
        pl.col("ticker").alias("instrument_id"),
        pl.col("ex_date").alias("session"),
        pl.lit("split").alias("kind"),
        pl.col("ratio").alias("value"),
    )
    result = undo_splits(bars, pl.concat([actions, later]), "split_adjusted")
    return result.bars, result.actions


def judge(traded: tuple[pl.DataFrame, pl.DataFrame], first: date, last: date) -> Assessment:
    bars, actions = traded
    calendar = bars["session"].unique().sort().to_list()
    sessions = [day for day in calendar if first <= day <= last]
    before = [day for day in calendar if day < first][-LOOKBACK:]
    held = bars.filter(pl.col("session").is_between((before or sessions)[0], last))
    expected = bars.select("session", "instrument_id", "ticker")
    return assess(held, actions, expected, sessions, before)


@pytest.fixture(scope="module")
def verdict(traded: tuple[pl.DataFrame, pl.DataFrame]) -> Assessment:
    return judge(traded, date(2016, 3, 14), date(2022, 12, 30))


def test_every_bad_history_is_flagged_and_no_good_one(real_data: Path, report: ModuleType) -> None:
    outcomes = [one for one in report.report(real_data / "yahoo_repair") if not one.file.endswith("-fixed")]
    assert len(outcomes) == 22
    assert [one.file for one in outcomes if one.wrong and not one.hits] == []
    assert [one.file for one in outcomes if not one.wrong and (one.flagged or one.contradictory)] == []


def test_rows_are_flagged_as_the_corrections_change_them(real_data: Path, report: ModuleType) -> None:
    for one in report.report(real_data / "yahoo_repair"):
        if one.wrong:
            assert one.recall == 1.0, one
            assert one.precision > 0.99, one


def test_what_is_left_in_the_corrections_is_really_wrong(real_data: Path, report: ModuleType) -> None:
    """CLC keeps a price of 0.006 for 0.60 on six days; SCR turned 1 into 15 in a merger that Yahoo lists nowhere."""
    left = {one.file[:3]: one.rules for one in report.report(real_data / "yahoo_repair") if "fixed" in one.file}
    assert {name: rules for name, rules in left.items() if rules} == {
        "CLC": ("unit_error",),
        "SCR": ("split_not_announced",),
    }


def test_named_cases(verdict: Assessment) -> None:
    def rules(ticker: str, day: date) -> list[str]:
        mine = (pl.col("ticker") == ticker) & (pl.col("bar_session") == day)
        return verdict.issues.filter(mine)["rule"].to_list()

    assert rules("HUBB", date(2021, 5, 5)) == ["ohlc_inconsistent"]
    assert rules("KDP", date(2018, 7, 10)) == []  # a special dividend of 103.75 explains the fall of 82 %
    assert rules("DHR", date(2016, 7, 5)) == ["dividend_implausible"]  # a spin-off booked as split and dividend
    assert "zero_volume" in rules("AMCR", date(2016, 4, 4)) and "frozen_bar" in rules("AMCR", date(2016, 4, 4))
    assert "jump" in rules("PCG", date(2018, 11, 15)) and "jump_reversed" in rules("PCG", date(2018, 11, 15))


def test_a_share_that_does_not_trade_yet_is_kept_out(verdict: Assessment) -> None:
    amcor = verdict.bars.filter((pl.col("ticker") == "AMCR") & (pl.col("session") < date(2019, 6, 11)))
    assert (amcor["data_quality"] == "good").mean() < 0.2
    assert (amcor["data_quality"] == "bad").sum() > 300
    assert set(verdict.bars.filter(pl.col("data_quality") == "bad")["ticker"]) == {"AMCR"}


def test_thirty_eight_splits_and_four_thousand_dividends_are_believed(verdict: Assessment) -> None:
    assert verdict.actions.height > 4_000
    doubted = verdict.actions.filter(pl.col("rules") != "")
    assert doubted.select("instrument_id", "kind", "rules").rows() == [("DHR", "dividend", "dividend_implausible")]
    assert verdict.issues.filter(pl.col("rule").str.contains("split")).is_empty()


def test_the_crash_of_march_2020_is_not_mistaken_for_bad_data(verdict: Assessment) -> None:
    crash = verdict.issues.filter(pl.col("session").is_between(date(2020, 2, 20), date(2020, 4, 30)))
    assert crash.filter(pl.col("severity") != "suspect").is_empty()
    assert crash.filter(pl.col("rule") == "jump").height < 10
    assert verdict.issues.filter(pl.col("rule") == "jump").height < 0.0005 * verdict.bars.height


def test_one_session_at_a_time_says_the_same(verdict: Assessment, traded: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    days = [day for day in verdict.bars["session"].unique().sort() if date(2018, 7, 9) <= day <= date(2018, 7, 13)]
    days += [date(2018, 11, 15), date(2018, 11, 16), date(2021, 5, 5)]
    for day in days:
        alone = judge(traded, day, day)
        assert_frame_equal(alone.issues, verdict.issues.filter(pl.col("session") == day), check_exact=True)
        order = ["session", "instrument_id"]
        held = verdict.bars.filter(pl.col("session") == day)
        assert_frame_equal(alone.bars.sort(order), held.sort(order), check_exact=True)


@pytest.mark.parametrize("decimals", [None, 4, 2])
def test_sound_histories_pass_the_audit(us: tuple[pl.DataFrame, pl.DataFrame], decimals: int | None) -> None:
    """Of 199 histories three have a finding: HUBB's bar, DHR's spin-off, and an AMCR dividend Yahoo never adjusted.

    Prices rounded to cents, as people's own files have them, bring no others: what rounding does to the ratio of the
    two closes is measured, not assumed.
    """
    bars, actions = us
    if decimals is not None:
        bars = bars.with_columns(pl.col("open", "high", "low", "close", "adj_close").round(decimals))
    issues = assess_history(bars, actions).issues
    assert issues.select("ticker", "bar_session", "rule").sort("ticker").rows() == [
        ("AMCR", date(2017, 9, 1), "dividend_not_applied"),
        ("DHR", date(2016, 7, 5), "dividend_implausible"),
        ("HUBB", date(2021, 5, 5), "ohlc_inconsistent"),
    ]


FAULTS = {
    "unit": ("unit_error", 0.99),
    "split": ("split_not_applied", 0.99),
    "not_adjusted": ("dividend_not_applied", 0.99),
    "amount": ("dividend_unit", 0.99),
    "amount_and_adjustment": ("dividend_unit", 0.95),  # a hundredfold of 0.03 % of the price hides in a day's move
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_put_into_real_histories_are_found(us: tuple[pl.DataFrame, pl.DataFrame], fault: str) -> None:
    """Histories the thresholds have not seen: one fault on an ex-date drawn for each of the tickers that pay."""
    bars, actions = us
    sound = ~pl.col("instrument_id").is_in(["AMCR", "DHR", "HUBB"])
    seasoned = bars.group_by("instrument_id").agg(pl.col("session").sort().get(60, null_on_oob=True).alias("from"))
    paid = actions.filter(sound & (pl.col("kind") == "dividend")).join(seasoned, on="instrument_id")
    paid = paid.filter(pl.col("session") > pl.col("from")).sort("instrument_id", "session")
    draw = pl.Series("draw", np.random.default_rng(17).random(paid.height))
    chosen = paid.with_columns(draw).sort("draw").unique("instrument_id", keep="first", maintain_order=True)
    chosen = chosen.select("instrument_id", pl.col("session").alias("ex"), pl.col("value").alias("amount"))
    assert chosen.height > 140

    issues = assess_history(*spoil(bars, actions, chosen, fault)).issues
    rule, least = FAULTS[fault]
    found = issues.filter(pl.col("rule") == rule).join(chosen, on="instrument_id")["instrument_id"].n_unique()
    assert found >= least * chosen.height


def spoil(
    bars: pl.DataFrame, actions: pl.DataFrame, chosen: pl.DataFrame, fault: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Histories of the chosen instruments with the fault at their ex-date `ex`, where `amount` was paid."""
    bars = bars.join(chosen, on="instrument_id").sort("instrument_id", "session")
    actions = actions.join(chosen, on="instrument_id")
    before, on_ex_date = pl.col("session") < pl.col("ex"), pl.col("session") == pl.col("ex")
    share = pl.col("amount") / pl.col("close").filter(before).last().over("instrument_id")
    prices = ("open", "high", "low", "close", "adj_close")

    def scaled(names: tuple[str, ...], factor: pl.Expr, where: pl.Expr) -> list[pl.Expr]:
        return [pl.when(where).then(pl.col(name) * factor).otherwise(name).alias(name) for name in names]

    if fault == "unit":
        return bars.with_columns(scaled(prices, pl.lit(100.0), on_ex_date)), actions
    if fault == "split":
        split = actions.unique("instrument_id").with_columns(
            pl.col("ex").alias("session"), pl.lit("split").alias("kind"), pl.lit(3.0).alias("value")
        )
        return bars.with_columns(scaled(prices, pl.lit(3.0), before)), pl.concat([actions, split])
    if fault == "not_adjusted":
        return bars.with_columns(scaled(("adj_close",), 1 / (1 - share), before)), actions
    actions = actions.with_columns(scaled(("value",), pl.lit(100.0), (pl.col("kind") == "dividend") & on_ex_date))
    if fault == "amount_and_adjustment":
        factor = (1 - 100 * share) / (1 - share)
        bars = bars.with_columns(scaled(("adj_close",), factor, before & (share < 0.01)))
    return bars, actions
