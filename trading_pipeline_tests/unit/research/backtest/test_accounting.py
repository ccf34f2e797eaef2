"""The account: equal to vectorbt's, explained by its trades, the same bit for bit, and never in debt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_pipeline.research.backtest import AccountingError, backtest, run
from trading_pipeline.research.backtest.accounting import checked_by_vectorbt
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.backtest.record import Days
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Panel
from trading_pipeline.research.strategies.base import SignalResult

Maker = Callable[..., Any]
NONE = float("nan")
COSTS = "fees_bps = 7.0\nborrow_rate = 0.3\ndelisting_haircut = 0.4\n"
SLIPPAGES = (
    'slippage = { kind = "fixed", bps = 11.0 }',
    'slippage = { kind = "spread", bps = 30.0 }',
    'slippage = { kind = "volume_share", impact = 0.05 }',
)


def random_signals(panel: MarketPanel, seed: int, shorts: bool) -> SignalResult:
    """Signals that mean nothing: on 3 % of the bars, with stops on half of them."""
    random = np.random.default_rng(seed)
    entries, exits, short_entries, short_exits = random.random((4, *panel.shape)) < 0.03
    entries &= panel.traded
    short_entries &= panel.traded & ~entries & shorts
    stop = np.where(random.random(panel.shape) < 0.5, random.uniform(0.02, 0.1, panel.shape), np.nan)
    return SignalResult.of(
        entries,
        exits,
        short_entries=short_entries,
        short_exits=short_exits,
        confidence=random.uniform(0.1, 1, panel.shape),
        stop_distance=stop,
        weight=random.uniform(0.5, 2, panel.shape),
    )


def frames(record: Any) -> list[pl.DataFrame]:
    return [record.days, record.positions, record.trades, record.orders, record.refused]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    shorts=st.booleans(),
    slippage=st.sampled_from(SLIPPAGES),
    rebalance=st.sampled_from(["daily", "weekly", "monthly"]),
    gross=st.sampled_from([0.7, 1.0, 2.0]),
    share=st.sampled_from(["", "max_volume_share = 0.02"]),
    by_risk=st.booleans(),
)
def test_any_walk_is_what_vectorbt_accounts_for_and_its_trades_explain(
    drawn: Maker,
    configured: Maker,
    seed: int,
    shorts: bool,
    slippage: str,
    rebalance: str,
    gross: float,
    share: str,
    by_risk: bool,
) -> None:
    panel = drawn(seed % 1000, sessions=90, names=11)
    sizing = {"risk": f"gross_exposure = {gross}"} if by_risk else {
        "allocation": f'rebalance = "{rebalance}"\ngross_exposure = {gross}\nturnover_limit = 0.4'
    }  # fmt: skip
    configuration = configured(**sizing, costs=COSTS + slippage, execution=share, capital="100_000.0")
    # `run` itself raises where vectorbt comes to another value.
    record = run(panel, random_signals(panel, seed, shorts), configuration)
    if record.trades["profit"].len():
        assert record.trades["profit"].sum() == pytest.approx(record.equity[-1] - 100_000, abs=1e-6)
    debits = record.days["borrow"].sum() + record.days["haircut"].sum()
    assert record.trades["debits"].sum() == pytest.approx(debits, abs=1e-8)
    assert record.trades["fees"].sum() == pytest.approx(record.days["fees"].sum(), abs=1e-8)
    assert record.orders["fees"].sum() == pytest.approx(record.days["fees"].sum(), abs=1e-8)
    value = record.days["session"].to_frame().join(
        record.positions.group_by("session").agg(pl.col("value").sum()), on="session", how="left"
    )["value"].fill_null(0.0)  # fmt: skip
    np.testing.assert_allclose(record.days["cash"].to_numpy() + value.to_numpy(), record.equity, rtol=1e-12)
    if not shorts and gross <= 1:
        assert record.days["cash"].min() >= -1e-9
    if share:
        volume = panel.axes.to_long(panel.traded, {"volume": panel.volume})
        filled = record.orders.filter(pl.col("reason") != "delisted").group_by("session", "instrument_id").agg(
            pl.col("shares").sum()
        )  # fmt: skip
        both = filled.join(volume, on=["session", "instrument_id"])
        assert (both["shares"] <= 0.02 * both["volume"]).all()


def test_an_account_that_is_off_by_a_millionth_is_refused() -> None:
    last = np.full((4, 1), 10.0)
    orders = pl.DataFrame(
        {"row": [1], "phase": [1], "column": [0], "shares": [10.0], "reference": [10.0], "price": [10.0],
         "fees": [0.0], "slippage": [0.0], "reason": [0], "decided": [0]}
    )  # fmt: skip
    days = Days.empty(4, 1)
    days.equity[:], days.cash[:] = 1000.0, [1000.0, 900.0, 900.0, 900.0]
    accounts = checked_by_vectorbt(orders, last, days, 1000.0, 0)
    assert accounts.equity.tolist() == [1000.0] * 4
    days.equity[2] += 0.001
    with pytest.raises(AccountingError, match=r"the equity of the backtest is .* 2 sessions after its first"):
        checked_by_vectorbt(orders, last, days, 1000.0, 0)


def test_money_that_is_not_there_is_not_lent_by_vectorbt() -> None:
    last = np.full((3, 2), 10.0)
    orders = pl.DataFrame(
        {"row": [1, 1], "phase": [1, 1], "column": [0, 1], "shares": [100.0, 1.0], "reference": [10.0, 10.0],
         "price": [10.0, 10.0], "fees": [0.0, 0.01], "slippage": [0.0, 0.0], "reason": [0, 0], "decided": [0, 0]}
    )  # fmt: skip
    days = Days.empty(3, 2)
    days.equity[:], days.cash[:] = [1000.0, 999.99, 999.99], [1000.0, -10.01, -10.01]
    # A debt of the walk is shown as one.
    assert checked_by_vectorbt(orders, last, days, 1000.0, 0).cash.tolist() == pytest.approx([1000.0, -10.01, -10.01])


@pytest.mark.parametrize("sizing", [{}, {"risk": ""}], ids=["allocation", "risk"])
def test_the_same_configuration_gives_the_same_bytes(drawn: Maker, configured: Maker, sizing: dict[str, str]) -> None:
    parameters = "window = 10\nentry = 1.5\nstop = 0.05\nsides = 'both'"
    configuration: Configuration = configured(
        strategy="mean_reversion", parameters=parameters, costs="", capital="1_000_000.0", **sizing
    )
    panel = drawn(3, sessions=200)
    again = replace(panel, close=panel.close.copy(order="F"))
    one, two = backtest(panel, configuration), backtest(again, configuration)
    assert len(one.orders) > 50
    for left, right in zip(frames(one), frames(two), strict=True):
        assert left.equals(right, null_equal=True)
        for name in left.columns:
            if left.schema[name].is_float():
                assert left[name].to_numpy().tobytes() == right[name].to_numpy().tobytes()


@pytest.mark.parametrize("sizing", [{"allocation": "gross_exposure = 2.0"}, {"risk": ""}], ids=["allocation", "risk"])
def test_a_session_or_a_name_that_is_added_moves_no_digit_of_the_days_before(
    drawn: Maker, configured: Maker, sizing: dict[str, str]
) -> None:
    """With shorts, for which vectorbt is lent money: how much depends on fills that are yet to come."""
    panel = drawn(6, sessions=160, names=11)
    configuration = configured(costs=COSTS, capital="100_000.0", **sizing)
    signals = random_signals(panel, 6, shorts=True)
    whole = run(panel, signals, configuration)
    assert {"long", "short"} == set(whole.trades["side"])
    for rows in range(40, 160, 30):
        earlier = SignalResult(**{name: values[:rows] for name, values in vars(signals).items()})
        assert run(panel.until(rows), earlier, configuration).days.equals(whole.days[:rows])

    # Seven names, each in the alphabet before another one, of whom the last session brings the first bar.
    ids = [*panel.axes.instrument_ids, *(f"{name}b" for name in panel.axes.instrument_ids[:7])]
    places = np.argsort(ids)

    def wider(values: np.ndarray) -> np.ndarray:
        none = np.full((len(values), 7), NONE if values.dtype.kind == "f" else False)
        return np.concatenate([values, none], axis=1)[:, places]

    names = ("open", "high", "low", "close", "volume", "member")
    arrays = {name: wider(getattr(panel, name)) for name in names}
    for name in names:
        arrays[name][-1, np.isin(places, range(11, 18))] = True if name == "member" else 10.0
    listed = replace(
        panel,
        axes=Panel(panel.axes.sessions, [ids[place] for place in places]),
        last_bars=np.append(panel.last_bars, np.full(7, -1))[places],
        **arrays,
    )
    more = SignalResult(**{name: wider(values) for name, values in vars(signals).items()})
    assert run(listed, more, configuration).days[:-1].equals(whole.days[:-1])


def test_nothing_signalled_is_nothing_traded(drawn: Maker, configured: Maker, signalled: Maker) -> None:
    panel = drawn(4, sessions=60, names=5)
    record = run(panel, signalled(panel), configured())
    assert set(record.equity) == {1000.0}
    assert [len(frame) for frame in frames(record)[1:]] == [0, 0, 0, 0]
    assert record.days.columns == run(panel, random_signals(panel, 1, False), configured()).days.columns
