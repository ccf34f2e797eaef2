"""The look-ahead audit: honest strategies pass it, planted cheats are named with session, instrument and array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from trading_pipeline.research import strategies
from trading_pipeline.research.backtest import backtest, look_ahead, look_ahead_of_backtest
from trading_pipeline.research.backtest.audit import mutated
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.strategies.base import (
    SignalResult,
    Strategy,
    StrategyError,
    StrategyParameters,
    registered,
)

Maker = Callable[..., Any]


class _Audited(Strategy):
    """What the cheats share: they are no strategies that anybody can ask for by name."""

    description: ClassVar[str] = "Audited by the tests."
    Parameters: ClassVar[type[StrategyParameters]] = StrategyParameters
    name: ClassVar[str] = "audited"

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Not registered."""

    def signals(self, panel: MarketPanel) -> SignalResult:
        raise NotImplementedError


def rises(close: np.ndarray) -> np.ndarray:
    """Where the close is above the one before."""
    out = np.zeros(close.shape, dtype=np.bool_)
    out[1:] = close[1:] > close[:-1]
    return out


class Honest(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        up = rises(panel.close)
        return SignalResult.of(up & panel.traded, ~up)


class SeesTomorrow(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        up = np.zeros(panel.shape, dtype=np.bool_)
        up[:-1] = rises(panel.close)[1:]
        return SignalResult.of(up & panel.traded, ~up)


class FitsOnEverything(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        cheap = panel.close < np.nanmean(panel.close, axis=0)
        return SignalResult.of(cheap & panel.traded, ~cheap)


class KnowsWhoSurvives(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        lives = np.broadcast_to(panel.last_bars < 0, panel.shape)
        return SignalResult.of(rises(panel.close) & lives & panel.traded, ~rises(panel.close))


class KnowsTheMembers(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        stays = np.zeros(panel.shape, dtype=np.bool_)
        stays[:-5] = panel.member[5:]
        return SignalResult.of(stays & panel.traded, ~stays)


class ReadsTheNewsEarly(_Audited):
    needs: ClassVar[tuple[str, ...]] = ("sentiment",)

    def signals(self, panel: MarketPanel) -> SignalResult:
        news = np.zeros(panel.shape)
        news[:-1] = panel.measures["sentiment"][1:]
        return SignalResult.of((news > 1) & panel.traded, news < -1)


class SizesByTomorrow(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        up = rises(panel.close)
        weight = np.ones(panel.shape)
        weight[:-1] = np.where(np.isfinite(panel.volume[1:]), 1 + panel.volume[1:], 1.0)
        return SignalResult.of(up & panel.traded, ~up, weight=weight)


def audited(kind: type[Strategy], panel: MarketPanel) -> Any:
    return look_ahead(kind(StrategyParameters()), panel, seed=7)


@pytest.fixture(scope="module")
def market(drawn: Maker) -> MarketPanel:
    panel: MarketPanel = drawn(11, sessions=120, names=10)
    sentiment = np.random.default_rng(5).normal(0, 1, panel.shape)
    return replace(panel, measures={"sentiment": sentiment})


def test_an_honest_strategy_passes(market: MarketPanel) -> None:
    assert audited(Honest, market) == ()


@pytest.mark.parametrize(
    ("cheat", "array", "futures"),
    [
        (SeesTomorrow, "entries", {"truncated", "mutated"}),
        (FitsOnEverything, "entries", {"truncated", "mutated"}),
        (KnowsWhoSurvives, "entries", {"truncated", "mutated"}),
        (KnowsTheMembers, "entries", {"truncated", "mutated"}),
        (ReadsTheNewsEarly, "entries", {"truncated", "mutated"}),
        (SizesByTomorrow, "weight", {"truncated", "mutated"}),
    ],
)
def test_a_planted_cheat_is_caught(market: MarketPanel, cheat: type[Strategy], array: str, futures: set[str]) -> None:
    findings = audited(cheat, market)
    assert {finding.future for finding in findings} == futures
    assert {finding.array for finding in findings} <= {array, "exits"}
    assert array in {finding.array for finding in findings}
    first = findings[0]
    assert first.session <= first.known
    assert first.instrument_id in market.axes.instrument_ids
    assert str(first).endswith(f"once what follows {first.known} is {first.future}")


def test_a_finding_is_the_first_cell_that_differs(market: MarketPanel) -> None:
    (finding,) = [
        each for each in look_ahead(SeesTomorrow(StrategyParameters()), market, [50]) if each.future == "truncated"
    ]
    # Cut after the fiftieth session, only that session's signal depends on what follows.
    assert finding.session == finding.known == str(market.axes.sessions[49])
    rose = rises(market.close)[50]
    assert finding.instrument_id == market.axes.instrument_ids[int(np.argmax(rose | market.traded[49]))]


def test_another_future_leaves_the_past_and_is_one_that_can_be(market: MarketPanel) -> None:
    other = mutated(market, 60, seed=1)
    for name in ("open", "high", "low", "close", "volume", "member", "benchmark"):
        before, after = getattr(market, name), getattr(other, name)
        np.testing.assert_array_equal(before[:60], after[:60])
        assert not np.array_equal(before[60:], after[60:], equal_nan=name != "member")
    bars = other.traded
    assert (other.low[bars] <= other.close[bars]).all()
    assert (other.high[bars] >= other.open[bars]).all()
    assert other.member.any(axis=1)[market.member.any(axis=1)].all()
    assert sorted(other.measures["sentiment"].ravel()) == sorted(market.measures["sentiment"].ravel())
    np.testing.assert_array_equal(mutated(market, 60, seed=1).close, other.close)


@pytest.mark.parametrize("sizing", [{}, {"risk": ""}], ids=["allocation", "risk"])
def test_a_whole_backtest_knows_no_future(drawn: Maker, configured: Maker, sizing: dict[str, str]) -> None:
    configuration = configured(
        strategy="mean_reversion",
        parameters="window = 10\nentry = 1.5\nstop = 0.05\nsides = 'both'",
        costs="",
        execution="max_volume_share = 0.05",
        capital="1_000_000.0",
        coverage='on_low = "refuse"\nthreshold = 0.5',
        **sizing,
    )
    panel = drawn(12, sessions=150, names=12)
    assert len(backtest(panel, configuration).orders) > 20
    # A delisting is known on the session after the last bar, and not before.
    gone = int(panel.last_bars.max())
    rows = [gone + 1, gone + 2]
    assert look_ahead_of_backtest(panel, configuration, rows=rows) == ()


SHIPPED = [name for name, kind in registered().items() if kind.__module__.startswith(strategies.__name__)]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_backtest_of_every_strategy_knows_no_future(drawn: Maker, configured: Maker, name: str) -> None:
    configuration = configured(strategy=name, costs="", capital="1_000_000.0")
    warm_up = configuration.built().warm_up
    panel = drawn(13, sessions=warm_up + 60, names=6)
    random = np.random.default_rng(13)
    measures = {
        "verdict": random.integers(0, 4, panel.shape).astype(np.float64),
        "dip_pct": random.uniform(0, 40, panel.shape),
        "sector": np.broadcast_to(np.arange(6.0) % 2, panel.shape),
        "sentiment": random.uniform(-1, 1, panel.shape),
        "articles": random.integers(1, 9, panel.shape).astype(np.float64),
    }
    assert look_ahead_of_backtest(replace(panel, measures=measures), configuration, rows=[warm_up + 40]) == ()


def test_a_backtest_of_a_cheat_is_caught(drawn: Maker, configured: Maker) -> None:
    panel = drawn(12, sessions=120, names=6)
    findings = look_ahead_of_backtest(panel, configured(), rows=[60], chosen=FitsOnEverything(StrategyParameters()))
    assert {finding.future for finding in findings} == {"truncated", "mutated"}
    # Orders are decided before the fills that they change.
    assert all(finding.session <= finding.known for finding in findings)


class Raises(_Audited):
    def signals(self, panel: MarketPanel) -> SignalResult:
        raise ZeroDivisionError("nothing to divide by")


class NeedsAYear(Honest):
    @property
    def warm_up(self) -> int:
        return 252


def test_a_strategy_that_raises_or_lacks_history_is_named_with_its_sessions(drawn: Maker, configured: Maker) -> None:
    panel = drawn(12, sessions=60, names=6)
    said = r"strategy audited failed: ZeroDivisionError: nothing to divide by \(sessions 2015-01-01 to 2015-03-25\)"
    with pytest.raises(StrategyError, match=said):
        backtest(panel, configured(), chosen=Raises(StrategyParameters()))
    with pytest.raises(StrategyError, match="2015-01-01 to 2015-03-25, 60 sessions, and its first signal needs 253"):
        backtest(panel, configured(), chosen=NeedsAYear(StrategyParameters()))
