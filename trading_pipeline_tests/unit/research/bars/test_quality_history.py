"""The audit of a received history: which fault it names, which rows it calls wrong, and what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.bars.quality import ISSUE_SCHEMA, RULES, HistoryAssessment, assess_history

ROWS = 300
EX_DATES = (60, 125, 190, 255)


@dataclass
class Received:
    """One instrument as a provider would send it: split-adjusted prices, an adjusted close made from `adjusted_by`."""

    close: np.ndarray
    dividends: dict[int, float]
    adjusted_by: dict[int, float] | None = None
    splits: dict[int, float] = field(default_factory=dict)
    scale: dict[str, np.ndarray] = field(default_factory=dict)
    sessions: list[Any] = field(default_factory=list)
    name: str = "L:ABC"

    def spoil(self, rows: slice, factor: float, names: tuple[str, ...] = ("open", "high", "low", "close")) -> Received:
        for name in names:
            self.scale.setdefault(name, np.ones(len(self.close)))[rows] *= factor
        return self

    @property
    def bars(self) -> pl.DataFrame:
        rng, n = np.random.default_rng(5), len(self.close)
        opened = self.close * np.exp(rng.normal(0, 0.003, n))
        factor = np.ones(n)
        for at, paid in (self.dividends if self.adjusted_by is None else self.adjusted_by).items():
            factor[:at] *= 1 - paid / self.close[at - 1]
        spoilt = {name: self.scale.get(name, 1.0) for name in ("open", "high", "low", "close")}
        return pl.DataFrame(
            {
                "instrument_id": self.name,
                "ticker": self.name,
                "session": self.sessions,
                "open": opened * spoilt["open"],
                "high": np.maximum(opened, self.close) * 1.003 * spoilt["high"],
                "low": np.minimum(opened, self.close) * 0.997 * spoilt["low"],
                "close": self.close * spoilt["close"],
                "adj_close": self.close * factor * spoilt["close"],
                "volume": rng.integers(100_000, 200_000, n).astype(np.float64),
                "provider": "yahoo",
            }
        )

    @property
    def actions(self) -> pl.DataFrame:
        rows = [("dividend", at, paid) for at, paid in self.dividends.items()]
        rows += [("split", at, ratio) for at, ratio in self.splits.items()]
        return pl.DataFrame(
            {
                "instrument_id": [self.name] * len(rows),
                "session": pl.Series([self.sessions[at] for _, at, _ in rows], dtype=self.bars.schema["session"]),
                "kind": pl.Series([kind for kind, _, _ in rows], dtype=pl.String),
                "value": pl.Series([value for _, _, value in rows], dtype=pl.Float64),
            }
        )

    def audit(self, **options: Any) -> HistoryAssessment:
        return assess_history(self.bars, self.actions, **options)

    def found(self, part: str | None = None) -> dict[str, list[int]]:
        """By rule: the positions of the rows called wrong."""
        position = {session: at for at, session in enumerate(self.sessions)}
        out: dict[str, list[int]] = {}
        for row in self.audit().rows.iter_rows(named=True):
            if part in (None, row["part"]):
                out.setdefault(row["rule"], []).append(position[row["session"]])
        return {rule: sorted(set(rows)) for rule, rows in out.items()}


def history(share: float = 0.02, seed: int = 2, rows: int = ROWS) -> Received:
    """A calm history that pays `share` of its price on each ex-date and falls by it."""
    close = 20 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.008, rows)))
    dividends: dict[int, float] = {}
    for at in (at for at in EX_DATES if at < rows):
        dividends[at] = share * close[at - 1]
        close[at:] *= 1 - share
    days = [date(2022, 1, 3) + timedelta(days=k) for k in range(2 * rows)]
    return Received(close, dividends, sessions=[day for day in days if day.weekday() < 5][:rows])


def test_a_sound_history_has_no_findings_in_any_order_of_its_rows() -> None:
    sound = history()
    for bars in (sound.bars, sound.bars.reverse(), sound.bars.sample(fraction=1, shuffle=True, seed=1)):
        verdict = assess_history(bars, sound.actions)
        assert verdict.issues.is_empty() and verdict.rows.is_empty()


def test_issues_fit_their_table_and_are_dated_to_the_receipt() -> None:
    received = history().spoil(slice(10, 11), 100)
    issue = received.audit().issues
    assert issue.schema == ISSUE_SCHEMA
    assert (issue["session"].item(), issue["bar_session"].item()) == (received.sessions[-1], received.sessions[10])
    assert received.audit(seen=date(2024, 1, 2)).issues["session"].item() == date(2024, 1, 2)


def test_rows_that_contradict_themselves_are_named() -> None:
    received = history().spoil(slice(10, 11), 1.2, ("open",)).spoil(slice(20, 21), np.nan, ("close",))
    received.spoil(slice(30, 31), 0.0, ("low",))
    assert received.found("row") == {"ohlc_inconsistent": [10], "null_bar": [20], "non_positive_price": [30]}


def test_a_row_sent_twice_is_named_once() -> None:
    received = history()
    twice = pl.concat([received.bars, received.bars[40]])
    assert assess_history(twice, received.actions).issues["rule"].to_list() == ["duplicate_bar"]


class TestLevels:
    def test_rows_in_pence_before_the_unit_changed(self) -> None:
        assert history().spoil(slice(0, 100), 100).found() == {"unit_error": list(range(100))}

    def test_a_stretch_and_a_last_row_in_another_unit(self) -> None:
        received = history().spoil(slice(50, 55), 0.01).spoil(slice(ROWS - 1, ROWS), 100)
        assert received.found() == {"unit_error": [*range(50, 55), ROWS - 1]}

    def test_one_field_of_one_row(self) -> None:
        assert history().spoil(slice(70, 71), 100, ("high",)).found() == {"unit_error": [70]}

    @pytest.mark.parametrize("ratio", [4.0, 0.1], ids=["split", "consolidation"])
    @pytest.mark.parametrize("rows", [slice(0, 150), slice(0, 146), slice(0, 155), slice(140, 141), slice(150, 151)])
    def test_a_split_that_was_not_applied_to_some_rows(self, ratio: float, rows: slice) -> None:
        received = history().spoil(rows, ratio)
        received.splits = {150: ratio}
        assert received.found() == {"split_not_applied": list(range(rows.start, rows.stop))}

    def test_a_split_that_was_applied_twice(self) -> None:
        received = history().spoil(slice(0, 150), 0.25)
        received.splits = {150: 4.0}
        assert received.found() == {"split_not_applied": list(range(150))}

    def test_one_issue_for_a_run_of_rows(self) -> None:
        received = history().spoil(slice(0, 100), 100)
        assert received.audit().issues["detail"].to_list() == ["100 rows from here are 100.0 times the latest basis"]

    def test_a_split_that_was_applied_is_silent(self) -> None:
        received = history()
        received.splits = {150: 4.0}
        assert received.found() == {}

    def test_a_jump_that_is_no_announced_ratio_is_not_a_level(self) -> None:
        received = history(0.0).spoil(slice(150, None), 0.7)
        received.splits = {150: 4.0}
        assert received.found() == {}

    def test_a_gap_by_the_ratio_of_a_split_nobody_announced(self) -> None:
        assert history(0.0).spoil(slice(150, None), 0.5).found() == {"split_not_announced": [150]}

    def test_histories_as_traded_are_judged_in_one_basis(self) -> None:
        received = history().spoil(slice(0, 150), 4.0)
        received.splits = {150: 4.0}
        assert received.audit(basis="as_traded").rows.is_empty()


class TestPayments:
    @pytest.mark.parametrize("rows", [ROWS, 130])
    def test_one_that_the_adjusted_close_leaves_out(self, rows: int) -> None:
        received = history(0.04, rows=rows)
        received.adjusted_by = {60: received.dividends[60]}
        last = max(received.dividends)
        assert received.found() == {"dividend_not_applied": list(range(last))}

    def test_adjusted_for_a_hundredth_of_what_was_paid(self) -> None:
        received = history(0.03)
        received.adjusted_by = {at: paid / 100 for at, paid in received.dividends.items()}
        assert received.found() == {"dividend_unit": list(range(EX_DATES[-1]))}

    def test_recorded_a_hundred_times_what_the_price_and_the_adjusted_close_say(self) -> None:
        received = history(0.004)
        received.adjusted_by = dict(received.dividends)
        received.dividends = {at: 100 * paid for at, paid in received.dividends.items()}
        assert received.found() == {"dividend_unit": list(EX_DATES)}

    def test_one_of_many_recorded_a_hundred_times_too_large(self) -> None:
        received = history(0.0004)
        received.adjusted_by = dict(received.dividends)
        received.dividends[125] *= 100
        assert received.found() == {"dividend_unit": [125]}

    def test_recorded_and_adjusted_a_hundred_times_too_large(self) -> None:
        received = history(0.003)
        received.dividends[125] *= 100
        assert received.found() == {"dividend_unit": list(range(126))}

    def test_all_recorded_and_adjusted_a_hundred_times_too_small(self) -> None:
        received = history(0.03)
        received.dividends = {at: paid / 100 for at, paid in received.dividends.items()}
        assert received.found() == {"dividend_unit": list(range(EX_DATES[-1] + 1))}

    def test_payments_that_really_are_tiny_are_believed(self) -> None:
        assert history(0.0003).found() == {}

    def test_not_divided_by_the_split_of_its_own_day(self) -> None:
        received = history(0.012)
        received.adjusted_by = dict(received.dividends)
        received.dividends[190] *= 5
        received.splits = {190: 5.0}
        assert received.found() == {"dividend_unit": [190]}

    def test_one_sent_twice_days_apart(self) -> None:
        received = history(0.05)
        received.dividends[126] = 1.05 * received.dividends[125]
        assert received.found("action") == {"dividend_implausible": [126]}
        assert received.found("adjusted_close") == {"dividend_implausible": list(range(126))}

    def test_a_payer_of_every_week_is_believed(self) -> None:
        received = history(0.0)
        for at in range(5, ROWS, 5):
            received.dividends[at] = 0.01 * received.close[at - 1]
            received.close[at:] *= 0.99
        assert received.found() == {}

    def test_a_special_that_the_price_confirms_is_believed(self) -> None:
        received = history(0.0)
        received.dividends = {100: 0.8 * received.close[99]}
        received.close[100:] *= 0.2
        assert received.found() == {}

    def test_an_adjustment_without_an_action(self) -> None:
        received = history(0.02)
        received.adjusted_by = dict(received.dividends)
        del received.dividends[125]
        assert received.found() == {"dividend_missing": [125]}

    def test_without_an_adjusted_close_only_the_moves_speak(self) -> None:
        received = history(0.003)
        received.dividends[125] *= 100
        verdict = assess_history(received.bars.drop("adj_close"), received.actions)
        assert verdict.issues["rule"].to_list() == ["dividend_unit"]


def test_weekly_bars_step_one_bar_after_the_payment() -> None:
    received = history(0.04)
    received.sessions = [date(2015, 1, 5) + timedelta(weeks=k) for k in range(ROWS)]
    factor = np.ones(ROWS)
    for at, paid in received.dividends.items():
        factor[: at + 1] *= 1 - paid / received.close[at - 1]
    bars = received.bars.with_columns(pl.Series("adj_close", received.close * factor))
    assert assess_history(bars, received.actions).rows.is_empty()


def test_bars_of_minutes_are_audited_too() -> None:
    received = history(0.001)
    received.dividends = {125: received.dividends[125]}
    received.sessions = [datetime(2024, 5, 1, 13, 30, tzinfo=UTC) + timedelta(minutes=15 * k) for k in range(ROWS)]
    assert received.found() == {}
    assert received.spoil(slice(10, 11), 100).found() == {"unit_error": [10]}


def test_many_instruments_at_once_get_the_verdict_each_gets_alone() -> None:
    faults = [
        history(seed=21),
        history(seed=22).spoil(slice(0, 100), 100),
        history(0.04, seed=23),
        history(0.003, seed=24),
    ]
    faults[2].adjusted_by = {}
    faults[3].dividends[125] *= 100
    for position, received in enumerate(faults):
        received.name = f"L:{position}"
    together = assess_history(pl.concat([f.bars for f in faults]), pl.concat([f.actions for f in faults]))
    for received in faults:
        alone = received.audit()
        mine = pl.col("instrument_id") == received.name
        assert_frame_equal(together.issues.filter(mine), alone.issues)
        assert_frame_equal(together.rows.filter(mine), alone.rows, check_row_order=False)


def test_no_rows_at_all_is_not_an_error() -> None:
    received = history()
    verdict = assess_history(received.bars.clear(), received.actions.clear())
    assert verdict.issues.is_empty() and verdict.rows.is_empty()


def test_rules_of_the_receipt_are_found_here() -> None:
    assert {name for name, rule in RULES.items() if rule.judged == "receipt"} == {
        "dividend_missing",
        "dividend_not_applied",
    }
