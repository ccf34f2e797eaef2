"""From signals to fills: what happens when, at which price, by hand-made numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trading_pipeline.research.backtest import BacktestRecord, CoverageError, run
from trading_pipeline.research.strategies.base import StrategyError

NONE = float("nan")
Maker = Callable[..., Any]


def fills(record: BacktestRecord) -> list[tuple[str, str, str, int, float, str]]:
    """Session, name, side, shares, price and reason of every fill."""
    rows = record.orders.select("session", "instrument_id", "side", "shares", "price", "reason").rows()
    return [(str(day), name, side, shares, round(price, 6), reason) for day, name, side, shares, price, reason in rows]


def test_a_signal_is_filled_at_the_open_of_the_next_session(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10, 10, 10, 12, 15, 15]}, close={"A": [10, 10, 11, 13, 14, 15]})
    record = run(panel, signalled(panel, [("A", 2)], [("A", 4)]), configured())
    # Decided by the close of 11 of the third session: 1000 / 11 are 90 shares; filled at 12, 83 are affordable.
    assert fills(record) == [
        ("2020-01-06", "A", "buy", 83, 12.0, "entry"),
        ("2020-01-08", "A", "sell", 83, 15.0, "exit_signal"),
    ]
    assert record.days["equity"].to_list() == [1000, 1000, 1000, 1000 + 83, 1000 + 83 * 2, 1000 + 83 * 3]
    assert record.orders["decided_at"].cast(str).to_list() == ["2020-01-03", "2020-01-07"]
    assert record.trades.select("side", "shares", "profit", "reason").rows() == [("long", 83, 249.0, "exit_signal")]


def test_where_entry_and_exit_meet_the_exit_holds(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 6})
    record = run(panel, signalled(panel, [("A", 3)], [("A", 3)]), configured())
    assert fills(record) == []


def test_slippage_and_fees_worsen_each_fill(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 6})
    costs = 'fees_bps = 100.0\nslippage = { kind = "spread", bps = 400.0 }'
    record = run(panel, signalled(panel, [("A", 2)], [("A", 4)]), configured(costs=costs))
    bought, sold = 97, 97  # 97 x 10.2 x 1.01 = 999.294; one more would cost 1009.596
    assert fills(record)[0][3:5] == (bought, 10.2)
    assert fills(record)[1][3:5] == (sold, 9.8)
    assert record.equity[-1] == pytest.approx(1000 - 97 * 10.2 * 1.01 + 97 * 9.8 * 0.99, rel=1e-12)
    assert record.orders["slippage"].to_list() == pytest.approx([97 * 0.2] * 2)
    assert record.trades["fees"][0] == pytest.approx(97 * 0.01 * 20)


def test_impact_grows_with_the_share_of_the_volume(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 6}, volume={"A": [10_000.0] * 6})
    costs = 'fees_bps = 0.0\nslippage = { kind = "volume_share", impact = 0.1 }'
    record = run(panel, signalled(panel, [("A", 2)]), configured(costs=costs))
    (_, _, _, shares, price, _), *_ = fills(record)
    assert price == pytest.approx(10 * (1 + 0.1 * (shares / 10_000) ** 0.5), abs=1e-6)
    assert shares * price <= 1000


def test_a_stop_sells_at_its_price_from_the_session_after_the_fill(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(
        open={"A": [10, 10, 10, 10, 10, 10]},
        close={"A": [10, 10, 10, 10, 9.5, 10]},
        low={"A": [10, 10, 10, 8.0, 8.9, 10]},
    )
    record = run(panel, signalled(panel, [("A", 2)], stop=0.1), configured())
    # The low of 8 of the session it was bought in sells nothing: it may have come before.
    assert fills(record)[1:] == [("2020-01-07", "A", "sell", 100, 9.0, "stop")]
    assert record.orders["moment"].to_list() == ["open", "intraday"]
    assert record.trades.select("return", "r_multiple").row(0) == pytest.approx((-0.1, -1.0))


def test_a_gap_through_the_stop_sells_at_the_open(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10, 10, 10, 10, 7, 10]}, close={"A": [10, 10, 10, 10, 8, 10]})
    record = run(panel, signalled(panel, [("A", 2)], stop=0.1), configured())
    assert fills(record)[1:] == [("2020-01-07", "A", "sell", 100, 7.0, "stop")]
    assert record.trades["r_multiple"][0] == pytest.approx(-3.0)


def test_a_short_is_stopped_above_its_entry_and_pays_borrow(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(
        open={"A": [10, 10, 10, 10, 10, 10]},
        close={"A": [10, 10, 10, 10, 9, 10]},
        high={"A": [10, 10, 10, 10, 10, 11.5]},
    )
    costs = 'fees_bps = 0.0\nslippage = { kind = "fixed", bps = 0.0 }\nborrow_rate = 0.252'
    record = run(panel, signalled(panel, shorts=[("A", 2)], stop=0.1), configured(costs=costs))
    assert fills(record) == [
        ("2020-01-06", "A", "sell", 100, 10.0, "entry"),
        ("2020-01-08", "A", "buy", 100, 11.0, "stop"),
    ]
    # 0.252 a year are 0.001 a session, of the value at each close.
    assert record.days["borrow"].to_list() == pytest.approx([0, 0, 0, 1.0, 0.9, 0])
    assert record.days["net"].to_list()[3] == pytest.approx(-1000 / 999)
    assert record.equity[-1] == pytest.approx(1000 - 100 - 1.9)
    assert record.trades.select("side", "profit", "debits").row(0) == pytest.approx(("short", -101.9, 1.9))


def test_a_position_is_turned_round_by_closing_it_first(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0, 10, 10, 10, 10, 10, 8, 8]})
    record = run(panel, signalled(panel, [("A", 2)], shorts=[("A", 4)], covers=[("A", 6)]), configured())
    assert [each[2:] for each in fills(record)] == [
        ("buy", 100, 10.0, "entry"),
        ("sell", 100, 10.0, "exit_signal"),
        ("sell", 100, 10.0, "entry"),
        ("buy", 100, 8.0, "exit_signal"),
    ]
    assert record.trades.select("side", "profit").rows() == [("long", 0.0), ("short", 200.0)]


def test_a_name_that_leaves_the_universe_is_sold_at_the_next_open(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(
        open={"A": [10, 10, 10, 10, 10, 11, 12], "B": [10] * 7},
        member={"A": [1, 1, 1, 1, 0, 0, 0], "B": [1] * 7},
    )
    record = run(panel, signalled(panel, [("A", 2), ("A", 5)]), configured())
    assert fills(record)[1:] == [("2020-01-08", "A", "sell", 100, 11.0, "left_universe")]
    assert record.refused.select("instrument_id", "refused_by").rows() == [("A", "not_member")]


def test_a_delisted_holding_is_sold_at_its_last_close_less_the_haircut(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10, 10, 10, 10, 8, NONE, NONE], "B": [10] * 7}, gone=["A"])
    costs = 'fees_bps = 50.0\nslippage = { kind = "fixed", bps = 0.0 }\ndelisting_haircut = 0.25'
    record = run(panel, signalled(panel, [("A", 2)]), configured(costs=costs))
    held = fills(record)[0][3]
    assert fills(record)[1:] == [("2020-01-08", "A", "sell", held, 8.0, "delisted")]
    assert record.days["haircut"].to_list() == pytest.approx([0, 0, 0, 0, 0, held * 8 * 0.25, 0])
    assert record.equity[-1] == pytest.approx(1000 - held * 10 * 1.005 + held * 8 * 0.75)
    assert record.trades["profit"].sum() == pytest.approx(record.equity[-1] - 1000)


def test_a_short_gains_nothing_by_a_haircut(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10, 10, 10, 10, 8, NONE, NONE], "B": [10] * 7}, gone=["A"])
    costs = 'fees_bps = 0.0\nslippage = { kind = "fixed", bps = 0.0 }\nborrow_rate = 0.0\ndelisting_haircut = 0.25'
    record = run(panel, signalled(panel, shorts=[("A", 2)]), configured(costs=costs))
    assert record.equity[-1] == pytest.approx(1200.0)


def test_a_holding_without_bars_for_a_month_counts_as_delisted(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    bars = [10.0] * 5 + [NONE] * 30
    panel = told(open={"A": bars, "B": [10.0] * 35})
    costs = "fees_bps = 0.0\ndelisting_haircut = 0.5\nslippage = { kind = 'fixed', bps = 0.0 }"
    record = run(panel, signalled(panel, [("A", 2)]), configured(costs=costs))
    assert record.trades["reason"].to_list() == ["delisted"]
    assert np.flatnonzero(record.days["haircut"].to_numpy()).tolist() == [4 + 21]
    assert record.equity[4 + 20] == 1000
    assert record.equity[-1] == 500


def test_an_exit_waits_for_the_next_bar_however_long(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 5 + [NONE] * 8 + [11.0, 12.0], "B": [10.0] * 15})
    record = run(panel, signalled(panel, [("A", 2)], [("A", 4)]), configured())
    assert fills(record)[1] == (str(panel.axes.sessions[13]), "A", "sell", 100, 11.0, "exit_signal")
    assert str(record.orders["decided_at"][1]) == str(panel.axes.sessions[4])
    assert record.days["equity"].to_list()[5:13] == [1000] * 8


@pytest.mark.parametrize(("missing", "bought"), [(2, True), (3, False)])
def test_an_entry_waits_for_a_bar_for_the_configured_sessions(
    told: Maker, signalled: Maker, configured: Maker, missing: int, bought: bool
) -> None:
    panel = told(open={"A": [10.0] * 4 + [NONE] * missing + [11.0] * 4, "B": [10.0] * (8 + missing)})
    record = run(panel, signalled(panel, [("A", 3)]), configured(execution="carry_sessions = 2"))
    assert bool(fills(record)) is bought
    assert record.refused["refused_by"].to_list() == ([] if bought else ["no_bar"])


def test_fills_take_no_more_than_their_share_of_the_volume(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 12}, volume={"A": [300.0] * 12})
    configuration = configured(execution="max_volume_share = 0.1\ncarry_sessions = 1")
    record = run(panel, signalled(panel, [("A", 2)], [("A", 7)]), configuration)
    # 100 are wished, 30 a session are to be had; what is not bought in two sessions is given up, what is sold is not.
    assert [(each[2], each[3]) for each in fills(record)] == [("buy", 30), ("buy", 30), ("sell", 30), ("sell", 30)]
    assert record.trades.select("shares", "reason").rows() == [(60, "exit_signal")]


def test_purchases_are_cut_alike_where_the_cash_does_not_suffice(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10, 10, 10, 20, 20, 20], "B": [5, 5, 5, 5, 5, 5]}, close={"A": [10.0] * 6, "B": [5.0] * 6})
    record = run(panel, signalled(panel, [("A", 2), ("B", 2)]), configured())
    # 50 A at 20 and 100 B at 5 would cost 1500 of 1000.
    assert [(each[1], each[3]) for each in fills(record)] == [("A", 33), ("B", 66)]
    assert record.days["cash"].min() >= 0


def test_between_rebalancings_an_entry_takes_what_is_free_and_others_stay(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    sessions = 30
    panel = told(open={name: [10.0] * sessions for name in "AB"}, first="2020-01-02")
    record = run(panel, signalled(panel, [("A", 2), ("B", 5)]), configured("maximum_position = 0.6"))
    assert fills(record)[:2] == [
        ("2020-01-07", "A", "buy", 60, 10.0, "entry"),
        ("2020-01-10", "B", "buy", 40, 10.0, "entry"),
    ]
    # The first session of February makes weights anew.
    assert fills(record)[2:] == [
        ("2020-02-04", "A", "sell", 10, 10.0, "rebalance"),
        ("2020-02-04", "B", "buy", 10, 10.0, "rebalance"),
    ]


def test_an_entry_without_history_or_money_is_asked_again_at_the_next_rebalancing(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10.0] * 30, "B": [10.0] * 30, "C": [NONE] * 4 + [10.0] * 26}, first="2020-01-02")
    signals = signalled(panel, [("A", 5), ("B", 6), ("C", 7)])
    record = run(panel, signals, configured("minimum_history = 10"))
    assert record.refused.select("instrument_id", "refused_by").rows() == [
        ("A", "history"),
        ("B", "history"),
        ("C", "history"),
    ]
    assert {(each[0], each[1], each[3]) for each in fills(record)} == {
        ("2020-02-04", "A", 33), ("2020-02-04", "B", 33), ("2020-02-04", "C", 33),
    }  # fmt: skip
    # All equity is in A when B comes.
    record = run(panel, signalled(panel, [("A", 3), ("B", 6)]), configured())
    assert record.refused.select("instrument_id", "refused_by").rows() == [("B", "no_cash")]
    assert [(each[0], each[1], each[3]) for each in fills(record)][1:] == [
        ("2020-02-04", "A", 50), ("2020-02-04", "B", 50),
    ]  # fmt: skip


def test_a_rebalancing_trades_no_more_than_the_turnover_limit(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 12})
    record = run(panel, signalled(panel, [("A", 2)]), configured('rebalance = "daily"\nturnover_limit = 0.1'))
    # A tenth of the equity, bought alone, is half of what may be traded.
    assert [each[3] for each in fills(record)] == [20, 20, 20, 20, 20]
    assert record.days["turnover"].max() == pytest.approx(0.1)


def test_weights_of_signals_keep_their_ratio_and_leave_cash_where_they_ask_for_less(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10.0] * 6, "B": [10.0] * 6})
    weight = np.tile([1.0, 3.0], (6, 1))
    record = run(panel, signalled(panel, [("A", 2), ("B", 2)], weight=weight), configured())
    assert [each[3] for each in fills(record)] == [25, 75]
    record = run(panel, signalled(panel, [("A", 2)], shorts=[("B", 2)], weight=weight / 4), configured())
    assert [(each[2], each[3]) for each in fills(record)] == [("buy", 12), ("sell", 37)]


def test_the_allocator_sees_trailing_returns_of_the_wished_positions_and_no_filled_holes(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10, 11, 12, NONE, 15, 15, 15], "B": [10, 11, 10, 10, 10, 10, 10], "C": [9.0] * 7})
    seen: list[np.ndarray] = []

    def allocator(returns: np.ndarray) -> np.ndarray:
        seen.append(returns.copy())
        return np.full(returns.shape[1], 0.25)

    record = run(
        panel, signalled(panel, [("A", 4)], shorts=[("B", 4)]), configured("lookback = 4"), allocator
    )  # fmt: skip
    expected = np.array([[0.1, -0.1], [12 / 11 - 1, 1 / 11], [NONE, 0.0], [15 / 12 - 1, 0.0]])
    np.testing.assert_allclose(seen[0], expected, atol=1e-15)
    assert [(each[1], each[2], each[3]) for each in fills(record)] == [("A", "buy", 16), ("B", "sell", 25)]


@pytest.mark.parametrize(
    "answer",
    [np.array([0.5]), np.array([NONE, 0.5]), np.array([-0.1, 0.5]), np.array([0.7, 0.7])],
    ids=["shape", "nan", "negative", "more than 1"],
)
def test_an_allocator_that_answers_nonsense_is_named_with_strategy_and_session(
    told: Maker, signalled: Maker, configured: Maker, answer: np.ndarray
) -> None:
    panel = told(open={"A": [10.0] * 6, "B": [10.0] * 6})
    with pytest.raises(StrategyError, match="strategy momentum: the allocation failed on 2020-01-03: ValueError: weig"):
        run(panel, signalled(panel, [("A", 2), ("B", 2)]), configured(), lambda returns: answer)


def test_gross_exposure_above_one_borrows_and_below_one_leaves_cash(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10.0] * 8, "B": [10.0] * 8})
    for gross, shares in ((2.0, 100), (0.5, 25)):
        allocation = f"gross_exposure = {gross}\nmaximum_position = 2.0"
        record = run(panel, signalled(panel, [("A", 2), ("B", 2)]), configured(allocation))
        assert [each[3] for each in fills(record)] == [shares, shares]
        assert record.days["gross"][-1] == pytest.approx(gross)
        assert record.days["cash"][-1] == pytest.approx(1000 * (1 - gross))


def test_risk_sizing_is_that_of_the_one_sizing_function(told: Maker, signalled: Maker, configured: Maker) -> None:
    import polars as pl

    from trading_pipeline.research.risk import Account, load_limits, sized

    panel = told(open={name: [50.0] * 6 for name in "ABC"})
    confidence = np.tile([0.2, 0.9, 0.9], (6, 1))
    signals = signalled(panel, [(name, 2) for name in "ABC"], stop=0.02, confidence=confidence)
    record = run(panel, signals, configured(risk="", capital="1_000_000.0"))
    wished = pl.DataFrame({"instrument_id": ["B", "C", "A"], "side": "long", "entry": 50.0, "stop": 49.0,
                           "strength": [0.9, 0.9, 0.2]})  # fmt: skip
    asked = sized(wished, Account.of(1_000_000.0), load_limits("us"))
    assert {each[1]: each[3] for each in fills(record)} == dict(asked.select("instrument_id", "quantity").iter_rows())


def test_what_risk_refuses_is_told_with_its_reason(told: Maker, signalled: Maker, configured: Maker) -> None:
    names = [f"N{each:02d}" for each in range(12)]
    panel = told(open={name: [50.0] * 6 for name in names})
    signals = signalled(panel, [(name, 2) for name in names], stop=0.02)
    record = run(panel, signals, configured(risk="", capital="1_000_000.0"))
    assert set(record.refused["refused_by"]) == {"risk_per_sector"}
    assert len(record.refused) + len(fills(record)) == 12
    # Without a stop nothing can be sized by its risk.
    record = run(panel, signalled(panel, [("N00", 2)]), configured(risk=""))
    assert record.refused.select("refused_by", "refused_because").rows() == [
        ("inputs", "The stop is no price: missing.")
    ]


SHORTS = ("short", "short_selling", "Short selling is not allowed.")


@pytest.mark.parametrize("sized", [{"allocation": 'rebalance = "daily"'}, {"risk": "", "capital": "1_000_000.0"}])
def test_a_market_without_short_selling_refuses_shorts_however_they_are_sized(
    told: Maker, signalled: Maker, configured: Maker, sized: dict[str, str]
) -> None:
    panel = told(open={name: [50.0] * 8 for name in "ABC"})
    signals = signalled(panel, [("A", 2)], shorts=[("B", 2), ("C", 4)], stop=0.02)
    record = run(panel, signals, configured(market="asx", **sized))
    assert {(each[1], each[2]) for each in fills(record)} == {("A", "buy")}
    assert record.refused.select("session", "instrument_id", "side", "refused_by", "refused_because").rows() == [
        (record.days["session"][2], "B", *SHORTS),
        (record.days["session"][4], "C", *SHORTS),
    ]
    assert {each[1] for each in fills(run(panel, signals, configured(**sized)))} == {"A", "B", "C"}


def test_a_holding_that_may_not_be_turned_round_is_sold_and_may_be_bought_again(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [50.0] * 10, "B": [50.0] * 10})
    signals = signalled(panel, [("A", 2), ("B", 2), ("A", 6)], shorts=[("A", 4)])
    record = run(panel, signals, configured(market="asx", capital="100_000.0"))
    assert [(each[0], *each[2:4], each[5]) for each in fills(record) if each[1] == "A"] == [
        ("2020-01-06", "buy", 1000, "entry"),
        ("2020-01-08", "sell", 1000, "exit_signal"),
        ("2020-01-10", "buy", 1000, "entry"),
    ]
    # Its weight is nobody else's: B stays as it is, and what was A's is free for A.
    assert [each[3] for each in fills(record) if each[1] == "B"] == [1000]
    assert record.refused.select("instrument_id", "side", "refused_by", "refused_because").rows() == [("A", *SHORTS)]


@pytest.mark.parametrize("sized", [{}, {"risk": ""}])
def test_a_long_entry_that_waits_is_given_up_for_a_short_that_is_refused(
    told: Maker, signalled: Maker, configured: Maker, sized: dict[str, str]
) -> None:
    panel = told(open={"A": [50.0] * 8}, volume={"A": [1e6, 1e6, 1e6, 0.0, 1e6, 1e6, 1e6, 1e6]})
    asked = {"market": "asx", "capital": "100_000.0", "execution": "max_volume_share = 0.5", **sized}
    late = run(panel, signalled(panel, [("A", 2)], stop=0.02), configured(**asked))
    assert [each[:3] for each in fills(late)] == [("2020-01-07", "A", "buy")]
    turned = run(panel, signalled(panel, [("A", 2)], shorts=[("A", 3)], stop=0.02), configured(**asked))
    assert fills(turned) == []
    assert turned.refused["refused_by"].to_list() == ["short_selling"]


def test_sectors_of_the_panel_have_budgets_of_their_own(told: Maker, signalled: Maker, configured: Maker) -> None:
    names = [f"N{each:02d}" for each in range(12)]
    sectors = np.tile(np.arange(12.0) % 3, (6, 1))
    panel = told(open={name: [50.0] * 6 for name in names}, measures={"sector": sectors})
    signals = signalled(panel, [(name, 2) for name in names], stop=0.02)
    record = run(panel, signals, configured(risk="", capital="1_000_000.0"))
    assert "risk_per_sector" not in set(record.refused["refused_by"])


def test_signals_before_the_first_session_open_nothing(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 8, "B": [10.0] * 8})
    head = "first_session = 2020-01-04"  # a Saturday
    record = run(panel, signalled(panel, [("A", 2), ("B", 3)]), configured(head=head))
    assert str(record.days["session"][0]) == "2020-01-06"
    assert [each[1] for each in fills(record)] == ["B"]


def test_what_is_open_at_the_end_is_a_trade_at_the_last_close(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0, 10, 10, 10, 11, 12]})
    record = run(panel, signalled(panel, [("A", 2)]), configured())
    assert record.trades.select("exited_at", "exit_price", "profit", "reason").rows() == [
        (record.days["session"][-1], 12.0, 200.0, "end")
    ]
    assert record.positions.select("shares", "value").rows() == [(100, 1000.0), (100, 1100.0), (100, 1200.0)]


def test_coverage_is_told_marked_or_refused(told: Maker, signalled: Maker, configured: Maker) -> None:
    panel = told(open={"A": [10.0] * 6, "B": [NONE] * 3 + [10.0] * 3})
    record = run(panel, signalled(panel), configured())
    assert record.days["coverage"].to_list() == [0.5] * 3 + [1.0] * 3
    assert record.least_coverage == 0.5
    assert record.watermark is not None
    assert "only 50.0% of the members of all have a bar on 2020-01-01" in record.watermark
    assert run(panel, signalled(panel), configured(coverage="threshold = 0.5")).watermark is None
    with pytest.raises(CoverageError, match=r"fewer than 95.0% on 3 of 6 sessions: load the missing bars, lower"):
        run(panel, signalled(panel), configured(coverage='on_low = "refuse"'))


def test_an_empty_universe_too_little_history_and_a_lost_account_are_named(
    told: Maker, signalled: Maker, configured: Maker
) -> None:
    panel = told(open={"A": [10.0] * 6}, member={"A": [1, 1, 1, 0, 0, 1]})
    with pytest.raises(StrategyError, match="momentum: the universe all is empty on 2020-01-06"):
        run(panel, signalled(panel), configured())
    panel = told(open={"A": [10.0] * 6})
    with pytest.raises(StrategyError, match="momentum has too little history: it needs 2 sessions from 2020-02-01"):
        run(panel, signalled(panel), configured(head="first_session = 2020-02-01"))
    panel = told(open={"A": [10.0, 10, 10, 10, 25, 25]})
    with pytest.raises(StrategyError, match="momentum lost the whole account on 2020-01-07"):
        run(panel, signalled(panel, shorts=[("A", 2)]), configured())
