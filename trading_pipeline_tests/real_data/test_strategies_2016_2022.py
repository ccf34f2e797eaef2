"""Strategies on real bars of 198 names, 2016 to 2022: what is chosen, checked by other means; nothing looks ahead."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.market_panel import market_panel
from trading_pipeline.research.strategies.base import checked_signals, strategy

pytestmark = pytest.mark.real_data

BENCHMARK = "SPY"


@pytest.fixture(scope="module")
def panel(real_data):
    raw = pl.read_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet")
    raw = raw.with_columns(pl.col("date").cast(pl.Date).alias("session"), pl.col("volume").cast(pl.Float64))
    later = pl.read_csv(real_data / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True)
    told = {"symbol": "ticker", "kind": pl.lit("split"), "value": pl.col("ratio").cast(pl.Float64)}
    events = [later.select(session="ex_date", **told)]
    for column, kind in (("splits", "split"), ("dividends", "dividend")):
        value = pl.col(column).cast(pl.Float64)
        events.append(
            raw.filter(pl.col(column) != 0).select("session", symbol="ticker", kind=pl.lit(kind), value=value)
        )
    bars, actions, _ = undo_splits(raw.rename({"ticker": "symbol"}), pl.concat(events), "split_adjusted")
    bars = bars.filter(pl.col("close") > 0).with_columns(instrument_id="symbol")
    members = bars.filter(pl.col("symbol") != BENCHMARK).select("session", "instrument_id")
    sectors = pl.read_csv(real_data / "membership" / "sp500_current_with_sectors.csv")
    codes = sectors.select(instrument_id="Symbol", value=pl.col("GICS Sector").rank("dense").cast(pl.Float64))
    sector = members.join(codes, on="instrument_id")
    return market_panel(
        bars, actions.rename({"symbol": "instrument_id"}), members, BENCHMARK, {"sector": sector}
    )  # fmt: skip


def test_momentum_buys_the_decile_that_a_frame_library_ranks_on_top(panel):
    signals = checked_signals(strategy("momentum"), panel)
    ids = np.array(panel.axes.instrument_ids)
    decisions = np.flatnonzero(signals.entries.any(axis=1))
    assert len(decisions) == 67  # June 2017 to December 2022
    for row in decisions[::11]:
        past = pl.DataFrame(
            {"id": ids, "past": panel.close[row - 21] / panel.close[row - 252], "now": panel.close[row]}
        ).filter(pl.all_horizontal(pl.col("past", "now").is_finite()))
        top = past.sort("past", descending=True).head(past.height // 10)
        assert sorted(top["id"]) == sorted(ids[signals.entries[row]])


def test_pairs_are_confirmed_one_by_one_by_statsmodels(panel):
    from statsmodels.tsa.stattools import coint
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    asked = {"training": 504, "correction": "benjamini_hochberg"}
    choices = strategy("pairs", asked).choices(panel)
    sector = panel.measures["sector"]
    assert len(choices) == 18 and sum(len(choice.pairs) for choice in choices) >= 10
    assert min(choice.tests for choice in choices) > 250
    for choice in choices:
        for pair in choice.pairs:
            legs = [pair.dependent, pair.regressor]
            assert sector[choice.row, legs[0]] == sector[choice.row, legs[1]]
            window = np.log(panel.close[choice.row - 503 : choice.row + 1, legs])
            statistic, p_value, _ = coint(window[:, 0], window[:, 1], maxlag=1, autolag=None)
            assert pair.statistic == pytest.approx(statistic, rel=1e-6)
            assert pair.p_value == pytest.approx(2 * p_value, rel=1e-4)
            assert pair.p_value <= 0.05 * choice.discoveries / choice.tests
            johansen = coint_johansen(window, 0, 1)
            assert pair.trace == pytest.approx(johansen.lr1[0]) and pair.trace > johansen.cvt[0, 1]


def test_the_stricter_correction_keeps_a_part_and_none_at_all_a_crowd(panel):
    found = {
        correction: sum(
            choice.discoveries
            for choice in strategy("pairs", {"training": 504, "correction": correction}).choices(panel)
        )
        for correction in ("none", "benjamini_hochberg", "benjamini_yekutieli", "bonferroni")
    }
    assert found["none"] > 20 * found["benjamini_hochberg"]
    assert found["benjamini_hochberg"] >= found["benjamini_yekutieli"] > 0
    assert found["benjamini_hochberg"] >= found["bonferroni"]


def test_the_regime_is_wild_in_the_crash_of_2020_and_calm_in_2021(panel):
    walk = strategy("regime_momentum", {"window": 504}).regimes(panel)
    sessions, wild = panel.axes.sessions, walk.probability[:, 0]
    crash = (sessions >= np.datetime64("2020-03-09")) & (sessions <= np.datetime64("2020-04-30"))
    calm = (sessions >= np.datetime64("2021-06-01")) & (sessions <= np.datetime64("2021-10-31"))
    assert wild[crash].min() > 0.95
    assert wild[calm].max() < 0.2


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("momentum", {}), ("pairs", {"training": 504, "level": 0.2}), ("regime_momentum", {"window": 504})],
)
def test_cutting_the_future_off_changes_nothing(panel, name, parameters):
    using = strategy(name, parameters)
    whole = checked_signals(using, panel)
    assert whole.entries.sum() > 10
    for row in (1100, 1500):
        cut = checked_signals(using, panel.until(row))
        for each in ("entries", "exits", "short_entries", "short_exits", "confidence", "stop_distance", "weight"):
            assert np.array_equal(getattr(cut, each), getattr(whole, each)[:row], equal_nan=True), each
