"""What holds of every registered strategy: nothing it says of a session ever depends on a later one.

A strategy that is added is tested by being registered. One whose default parameters need a longer history than the
random market has gets shorter ones in `PARAMETERS`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from trading_pipeline.research import strategies
from trading_pipeline.research.market_panel import PRICES, MarketPanel
from trading_pipeline.research.panel import Panel, shift
from trading_pipeline.research.strategies import hidden_markov, regime_momentum
from trading_pipeline.research.strategies.base import (
    SignalResult,
    Strategy,
    StrategyError,
    StrategyParameters,
    checked_signals,
    registered,
    strategy,
)

PARAMETERS = {
    "momentum": {"formation": 126, "skip": 21, "share": 0.2},
    "moving_average_cross": {"fast": 10, "slow": 40, "sides": "both"},
    "mean_reversion": {"sides": "both"},
    "regime_momentum": {"window": 300, "refit_months": 1, "starts": 2},
    "pairs": {"training": 252, "choose_months": 1, "level": 0.2},
    "sentiment": {"sides": "both", "reaction": "either"},
}
# Those of the package: other tests may define strategies of their own.
NAMES = sorted(name for name, kind in registered().items() if kind.__module__.startswith(strategies.__name__))


def chosen(name: str) -> Strategy:
    return strategy(name, PARAMETERS.get(name))


@pytest.fixture(scope="module")
def market(random_panel) -> MarketPanel:
    return random_panel(5)


@pytest.fixture(scope="module")
def signals_of(market):
    return cache(lambda name: checked_signals(chosen(name), market))


def same_to(row: int, one: SignalResult, other: SignalResult) -> bool:
    """Whether all arrays are the same, bit for bit, before the row."""
    return all(
        np.array_equal(
            getattr(one, each.name)[:row].view(np.uint8), getattr(other, each.name)[:row].view(np.uint8)
        )
        for each in fields(SignalResult)
    )  # fmt: skip


def mutated(panel: MarketPanel, row: int, seed: int) -> MarketPanel:
    """The panel with another future from the row on: other prices, holes, members, measures and benchmark."""
    rng = np.random.default_rng(seed)
    after = (np.arange(panel.shape[0]) >= row)[:, None]
    factor = np.where(after, rng.uniform(0.2, 5.0, panel.shape), 1.0)
    factor = np.where(after & (rng.random(panel.shape) < 0.3), np.nan, factor)
    shuffled = rng.permutation(panel.shape[1])
    return replace(
        panel,
        **{name: getattr(panel, name) * factor for name in (*PRICES, "volume")},
        member=np.where(after, rng.random(panel.shape) < 0.5, panel.member),
        benchmark=np.where(after[:, 0], rng.uniform(1, 1e3, panel.shape[0]), panel.benchmark),
        last_bars=np.full(panel.shape[1], panel.shape[0] - 2),
        measures={name: np.where(after, values[:, shuffled] * 2, values) for name, values in panel.measures.items()},
    )


def sees_nothing_later(strategy_: Strategy, panel: MarketPanel, whole: SignalResult) -> bool:
    """Whether what it says up to a row is the same without the rows after it, and with other rows after it."""
    rows = panel.shape[0]
    for row in (rows - 1, rows - 37, rows * 3 // 4, rows * 2 // 3):
        if not same_to(row, checked_signals(strategy_, panel.until(row)), whole):
            return False
        if not same_to(row, strategy_.signals(mutated(panel, row, row)), whole):
            return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_the_random_market_gives_it_something_to_do(name, signals_of, market):
    signals = signals_of(name)
    late = signals.entries[market.shape[0] * 2 // 3 :]
    assert late.sum() >= 5, "a look-ahead would go unseen where there are no signals"
    assert signals.exits.any()


@pytest.mark.parametrize("name", NAMES)
def test_it_sees_nothing_later(name, signals_of, market):
    assert sees_nothing_later(chosen(name), market, signals_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_market_gives_the_same_signals_bit_for_bit(name, signals_of, market):
    assert same_to(market.shape[0], checked_signals(chosen(name), market), signals_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_history_gives_the_same_signals_once_it_is_warm(name, signals_of, market):
    using = chosen(name)
    start = 61
    later = checked_signals(using, market.between(start, market.shape[0]))
    warm = using.warm_up
    assert warm < market.shape[0] - start - 100
    whole = signals_of(name)
    opened = (whole.entries | whole.short_entries)[start + warm :]
    assert opened.any()
    for each in fields(SignalResult):
        one, other = getattr(later, each.name)[warm:], getattr(whole, each.name)[start + warm :]
        if one.dtype == np.bool_:
            assert np.array_equal(one, other), each.name
        else:
            assert one[opened] == pytest.approx(other[opened], rel=1e-9, nan_ok=True), each.name


@pytest.mark.parametrize("name", NAMES)
def test_it_signals_only_when_warm_only_on_bars_and_enters_only_members(name, signals_of, market):
    signals, using = signals_of(name), chosen(name)
    opened = signals.entries | signals.short_entries
    anything = opened | signals.exits | signals.short_exits
    assert not anything[: using.warm_up].any()
    assert not anything[~market.traded].any()
    assert not opened[~market.member].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_without_any_bar_changes_nothing_for_the_others(name, signals_of, market):
    silent = ~market.traded.any(axis=0)
    assert silent.sum() == 1
    rest = ~silent
    smaller = replace(
        market,
        axes=Panel(market.axes.sessions, [i for i, keep in zip(market.axes.instrument_ids, rest, strict=True) if keep]),
        **{each: getattr(market, each)[:, rest] for each in (*PRICES, "volume", "member")},
        last_bars=market.last_bars[rest],
        measures={each: values[:, rest] for each, values in market.measures.items()},
    )
    signals, without = signals_of(name), checked_signals(chosen(name), smaller)
    assert np.array_equal(signals.entries[:, rest], without.entries)
    assert np.array_equal(signals.exits[:, rest], without.exits)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sessions", "instruments"), [(700, 1), (60, 7), (1, 3)])
def test_one_name_and_too_little_history_are_no_error(name, sessions, instruments, random_panel):
    signals = checked_signals(chosen(name), random_panel(3, sessions, instruments))
    if sessions <= chosen(name).warm_up:
        assert not (signals.entries | signals.short_entries).any()


@pytest.mark.parametrize("name", NAMES)
def test_without_members_nothing_is_entered(name, market):
    signals = checked_signals(chosen(name), replace(market, member=np.zeros(market.shape, dtype=np.bool_)))
    assert not (signals.entries | signals.short_entries).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_market_without_instruments_gives_no_signals(name, panel_of):
    nothing = np.empty((50, 0))
    measures = dict.fromkeys(registered()[name].needs, nothing)
    assert checked_signals(chosen(name), panel_of(nothing, **measures)).entries.shape == (50, 0)


@pytest.mark.parametrize("name", NAMES)
def test_it_describes_itself_and_its_defaults_are_valid(name):
    kind = registered()[name]
    assert len(kind.description.split()) > 5 and "\n" not in kind.description
    assert kind.Parameters().model_dump() == strategy(name).parameters.model_dump()
    assert strategy(name).warm_up > 0
    for field in kind.Parameters.model_fields:
        with pytest.raises(StrategyError, match=f"{name}.*{field}"):
            strategy(name, {field: "no such thing"})


@pytest.mark.parametrize("name", [name for name in NAMES if registered()[name].needs])
def test_a_measure_that_the_market_lacks_is_named(name, market):
    lacking = registered()[name].needs[0]
    rest = {each: values for each, values in market.measures.items() if each != lacking}
    with pytest.raises(StrategyError, match=f"{name} needs {lacking}"):
        checked_signals(chosen(name), replace(market, measures=rest))


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("moving_average_cross", {"fast": 50, "slow": 50}, "fast .50. must be below slow .50."),
        ("momentum", {"formation": 21, "skip": 21}, "skip .21. must be below formation"),
        ("momentum", {"share": 0.2, "number": 5}, "share or number, not both"),
        ("momentum", {"share": 0.0}, "share: .* greater than 0"),
        ("mean_reversion", {"entry": 1.0, "exit": 1.0}, "exit .1.0. must be below entry"),
        ("mean_reversion", {"window": 5, "entry": 2.0}, "z-scores of 5 bars end at 1.79"),
        ("dip_buying", {"least_dip": 5.0, "recovered_at": 5.0}, "recovered_at .5.0. must be below least_dip"),
        ("dip_buying", {"least_verdict": 4}, "least_verdict: .* less than or equal to 3"),
        ("sentiment", {"normal": 10, "least_days": 11}, "least_days .11. must not exceed normal"),
        ("pairs", {"entry": 2.0, "stop": 2.0}, "must rise in this order"),
        ("pairs", {"training": 126, "most_half_life": 60.0}, "at most a third of training"),
        ("pairs", {"least_hedge": 2.0, "most_hedge": 1.0}, "least_hedge .2.0. must be below most_hedge"),
        ("regime_momentum", {"least_rsi": 80.0}, "least_rsi .80.0. must be below most_rsi"),
        ("regime_momentum", {"states": 4}, "states: "),
        ("regime_momentum", {"weights": (1.0, 1.0)}, "weights"),
        ("mean_reversion", {"windw": 20}, "windw: Extra inputs"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(name, parameters, told):
    with pytest.raises(StrategyError, match=f"strategy {name} cannot be used.*{told}"):
        strategy(name, parameters)


class TestCheatsAreCaught:
    """The property would be worthless if a strategy that does see the future passed it."""

    def test_one_that_reads_the_next_close(self, market, defined_for_this_test):
        class Clairvoyant(Strategy):
            name = "clairvoyant"
            description = "Buys what will rise tomorrow, which is the oldest trick there is."
            Parameters = StrategyParameters

            def signals(self, panel: MarketPanel) -> SignalResult:
                tomorrow = shift(panel.close[::-1], 1)[::-1]
                return SignalResult.of((tomorrow > panel.close) & panel.member, tomorrow < panel.close)

        using = strategy("clairvoyant")
        assert not sees_nothing_later(using, market, checked_signals(using, market))

    def test_one_that_scales_by_the_whole_sample(self, market, defined_for_this_test):
        class InSample(Strategy):
            name = "in_sample"
            description = "Buys what is below the mean of all its closes, those to come included."
            Parameters = StrategyParameters

            def signals(self, panel: MarketPanel) -> SignalResult:
                traded = panel.traded.any(axis=0)
                mean = np.full(panel.shape[1], np.nan)
                mean[traded] = np.nanmean(panel.close[:, traded], axis=0)
                return SignalResult.of(panel.close < mean, panel.close > mean)

        using = strategy("in_sample")
        assert not sees_nothing_later(using, market, checked_signals(using, market))

    def test_one_that_knows_who_will_be_delisted(self, market, defined_for_this_test):
        class Survivor(Strategy):
            name = "survivor"
            description = "Buys everything but what is going to be delisted, as it is known at the end."
            Parameters = StrategyParameters

            def signals(self, panel: MarketPanel) -> SignalResult:
                stays = np.broadcast_to(panel.last_bars < 0, panel.shape)
                return SignalResult.of(panel.traded & stays, panel.traded & ~stays)

        using = strategy("survivor")
        assert not sees_nothing_later(using, market, checked_signals(using, market))

    def test_regimes_smoothed_with_what_came_later(self, market, monkeypatch):
        def smoothed(start, transition, log_density):
            """Forward and backward, as hmmlearn's `predict_proba`."""
            forward = filtered(start, transition, log_density)
            out = forward.copy()
            for session in range(log_density.shape[1] - 2, -1, -1):
                ahead = np.einsum("mi,mij->mj", forward[:, session], transition)
                out[:, session] *= np.einsum("mij,mj->mi", transition, out[:, session + 1] / ahead)
            return out

        filtered = hidden_markov.filtered
        monkeypatch.setattr(hidden_markov, "filtered", smoothed)
        using = chosen("regime_momentum")
        assert isinstance(using, regime_momentum.RegimeMomentum)
        assert not sees_nothing_later(using, market, checked_signals(using, market))

    def test_a_cheat_is_forgotten_afterwards(self):
        assert [name for name, kind in registered().items() if kind.__module__ == __name__] == []


def test_importing_the_strategies_imports_nothing_heavy():
    heavy = ("pandas", "numba", "vectorbt", "hmmlearn", "sklearn", "statsmodels", "scipy", "skfolio")
    code = (
        "import sys; from trading_pipeline.research.strategies.base import registered; "
        f"print(len(registered()), [name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"{len(NAMES)} []"
