"""The accounting of sweeps: vectorbt's, to 1e-9, whatever the prices and the signals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.sweeps.kernels.accounting import account, instrument_bars
from trading_pipeline_tests.unit.research.sweeps.oracle import KINDS, assert_equal, random_prices, vectorbt_metrics

NAMES = ("total_return", "sharpe", "max_drawdown", "exposure", "win_rate")


def bits(decided: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """One row of bits of the decisions, one a bar, where they are filled."""
    padded = np.zeros((len(decided) + 63) // 64 * 64, dtype=np.uint8)
    padded[: len(decided)] = decided
    return np.packbits(padded, bitorder="little").view(np.uint64)[None, :] & allowed


def accounted(opens, closes, entries, exits, fees, slippage, carry_sessions) -> dict[str, np.ndarray]:
    """Our metrics of decisions by session and instrument."""
    instruments = closes.shape[1]
    out, trades = np.empty((len(NAMES), instruments)), np.empty(instruments, dtype=np.int32)
    for column in range(instruments):
        bars = instrument_bars(opens[:, column].copy(), closes[:, column].copy(), fees, slippage, carry_sessions)
        account(
            bits(entries[bars.rows, column], bars.enters),
            bits(exits[bars.rows, column], bars.leaves),
            bars.rows,
            bars.fills,
            bars.blocks,
            len(closes),
            out[:, column : column + 1],
            trades[column : column + 1],
        )
    return dict(zip(NAMES, out, strict=True)) | {"trades": trades}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sessions=st.sampled_from([2, 3, 63, 64, 65, 66, 129, 400]),
    often=st.sampled_from([0.01, 0.1, 0.5, 0.95]),
    fees=st.sampled_from([0.0, 0.001, 0.1]),
    slippage=st.sampled_from([0.0, 0.0005, 0.05]),
    carry_sessions=st.sampled_from([0, 1, 5]),
)
def test_random_signals_on_random_prices_come_to_what_vectorbt_makes_of_them(
    seed, sessions, often, fees, slippage, carry_sessions
):
    opens, closes = random_prices(seed, sessions)
    rng = np.random.default_rng(seed)
    entries, exits = rng.random(closes.shape) < often, rng.random(closes.shape) < often / 2
    told = (opens, closes, entries, exits, fees, slippage, carry_sessions)
    assert_equal(accounted(*told), vectorbt_metrics(*told))


def test_one_trade_by_hand():
    opens = np.array([[10.0], [10.0], [12.0], [11.0], [16.0]])
    closes = np.array([[10.0], [11.0], [9.0], [12.0], [20.0]])
    entries, exits = np.zeros((2, 5, 1), dtype=bool)
    entries[0], exits[2] = True, True
    found = accounted(opens, closes, entries, exits, 0.01, 0.02, 0)
    bought, sold = 10 * 1.02 * 1.01, 11 * 0.98 * 0.99
    assert found["total_return"][0] == pytest.approx(sold / bought - 1)
    assert found["max_drawdown"][0] == pytest.approx(9 / 11 - 1)
    assert found["exposure"][0] == 2 / 5
    assert (found["trades"][0], found["win_rate"][0]) == (1, 1.0)
    returns = np.array([0, 11 / bought - 1, 9 / 11 - 1, sold / 9 - 1, 0])
    assert found["sharpe"][0] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


def test_a_spike_leaves_no_trace_in_trades_that_did_not_hold_it():
    opens, closes = random_prices(3, 300, ("walk",))
    entries, exits = np.zeros((2, 300, 1), dtype=bool)
    entries[[150, 200]], exits[[170, 260]] = True, True
    opens, closes = (np.where(np.isnan(each), 100.0, each) for each in (opens, closes))
    spiked = (opens.copy(), closes.copy())
    for each in spiked:
        each[50] = 1e12
    told = (entries, exits, 0.001, 0.0, 0)
    calm, wild = accounted(opens, closes, *told), accounted(*spiked, *told)
    assert all(np.array_equal(calm[name], wild[name]) for name in calm)


def test_where_an_entry_and_an_exit_meet_the_exit_holds():
    opens, closes = random_prices(5, 100, ("walk",))
    both = np.ones((100, 1), dtype=bool)
    assert accounted(opens, closes, both, both, 0.0, 0.0, 0)["trades"][0] == 0


def test_every_kind_of_series_is_among_the_random_ones():
    opens, closes = random_prices(1, 200)
    bars = np.isfinite(closes).sum(axis=0)
    assert closes.shape == (200, len(KINDS))
    assert bars[KINDS.index("single bar")] <= 1
    assert bars[KINDS.index("no bar")] == 0
    assert np.array_equal(np.isfinite(opens), np.isfinite(closes))
