"""Every session rule: the fault it finds, the honest bar it leaves alone, and that it never looks ahead."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.bars.quality import LOOKBACK, RULES, Assessment, assess

JUDGED = 20
INSTRUMENTS = 30
X = "us:T00"  # the instrument that gets the faults
T = LOOKBACK + 5  # position of the session that gets them

NO_ACTIONS = pl.DataFrame(
    schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64}
)


@dataclass
class Market:
    """Bars of a calm market, a change of whose cells is a fault."""

    days: list[date]
    frame: pl.DataFrame
    actions: pl.DataFrame = field(default_factory=lambda: NO_ACTIONS)
    options: dict[str, Any] = field(default_factory=dict)

    def set(self, at: int, name: str = X, **values: Any) -> Market:
        """Replace columns of one bar; expressions may use its own columns."""
        here = (pl.col("session") == self.days[at]) & (pl.col("instrument_id") == name)
        self.frame = self.frame.with_columns(
            pl.when(here).then(value).otherwise(pl.col(column)).alias(column) for column, value in values.items()
        )
        return self

    def scale(self, factor: float, first: int, last: int | None = None, names: list[str] | None = None) -> Market:
        """Multiply the prices of a span of sessions."""
        span = pl.col("session").is_between(self.days[first], self.days[len(self.days) - 1 if last is None else last])
        here = span & pl.col("instrument_id").is_in(names or [X])
        self.frame = self.frame.with_columns(
            pl.when(here).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
            for name in ("open", "high", "low", "close")
        )
        return self

    def drop(self, first: int, last: int | None = None, name: str = X) -> Market:
        span = pl.col("session").is_between(self.days[first], self.days[first if last is None else last])
        self.frame = self.frame.filter(~(span & (pl.col("instrument_id") == name)))
        return self

    def act(self, at: int, kind: str, value: float, **more: Any) -> Market:
        row = pl.DataFrame({"session": [self.days[at]], "instrument_id": [X], "kind": [kind], "value": [value], **more})
        self.actions = pl.concat([self.actions, row], how="diagonal")
        return self

    def close(self, at: int, name: str = X) -> float:
        here = (pl.col("session") == self.days[at]) & (pl.col("instrument_id") == name)
        return float(self.frame.filter(here)["close"].item())

    def judge(self, first: int = LOOKBACK, last: int | None = None) -> Assessment:
        """Assess the sessions from `first` to `last` (positions) with no more than their lookback."""
        start, end = max(0, first - LOOKBACK), len(self.days) if last is None else last + 1
        return assess(
            self.frame.filter(pl.col("session").is_between(self.days[start], self.days[end - 1])),
            self.actions,
            self.expected,
            self.days[first:end],
            self.days[start:first],
            **self.options,
        )

    @property
    def expected(self) -> pl.DataFrame:
        names = [f"us:T{k:02d}" for k in range(INSTRUMENTS)]
        sessions, members = (
            pl.DataFrame({"session": self.days}),
            pl.DataFrame({"instrument_id": names, "ticker": names}),
        )
        return sessions.join(members, how="cross")

    def found(self, **span: int) -> dict[str, list[tuple[int, int]]]:
        """By rule: positions of the session it was seen on and of the bar at fault, for the instrument X."""
        out: dict[str, list[tuple[int, int]]] = {}
        position = {day: at for at, day in enumerate(self.days)}
        for row in self.judge(**span).issues.filter(pl.col("instrument_id") == X).iter_rows(named=True):
            out.setdefault(row["rule"], []).append((position[row["session"]], position.get(row["bar_session"], -1)))
        return out

    def quality(self, at: int = T) -> tuple[str, str] | None:
        """`data_quality` and `rules` of the bar of X, None where it was not kept."""
        kept = self.judge().bars.filter((pl.col("session") == self.days[at]) & (pl.col("instrument_id") == X))
        return None if kept.is_empty() else (kept["data_quality"].item(), kept["rules"].item())


@pytest.fixture
def market() -> Market:
    return calm()


def calm(seed: int = 1) -> Market:
    rng = np.random.default_rng(seed)
    shape = (LOOKBACK + JUDGED, INSTRUMENTS)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    first = date(2023, 1, 2)
    weekdays = [day for k in range(2 * len(close)) if (day := first + timedelta(days=k)).weekday() < 5]
    days = weekdays[: len(close)]
    names = [f"us:T{k:02d}" for k in range(INSTRUMENTS)]
    opened = close * np.exp(rng.normal(0, 0.003, shape))
    frame = pl.DataFrame(
        {
            "session": np.repeat(np.array(days, dtype="datetime64[D]"), INSTRUMENTS),
            "instrument_id": names * len(days),
            "ticker": names * len(days),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * 1.002).ravel(),
            "low": (np.minimum(opened, close) * 0.998).ravel(),
            "close": close.ravel(),
            "volume": rng.integers(100_000, 200_000, close.size).astype(np.float64),
            "currency": "USD",
            "provider": "files",
            "provisional": False,
        }
    )
    return Market(days, frame)


def test_a_calm_market_has_no_issues(market: Market) -> None:
    verdict = market.judge()
    assert verdict.issues.is_empty()
    assert verdict.bars.height == JUDGED * INSTRUMENTS
    assert set(verdict.bars["data_quality"]) == {"good"} and set(verdict.bars["rules"]) == {""}


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("null_bar", {"close": None}),
        ("null_bar", {"low": float("nan")}),
        ("non_positive_price", {"low": 0.0}),
        ("non_positive_price", {"open": -1.0}),
        ("negative_volume", {"volume": -5.0}),
        ("ohlc_inconsistent", {"open": pl.col("high") * 1.001}),
        ("ohlc_inconsistent", {"close": pl.col("low") * 0.999}),
        ("ohlc_inconsistent", {"high": pl.col("low") * 0.99}),
    ],
)
def test_rows_that_break_a_constraint_live_in_the_issues_alone(
    market: Market, rule: str, fault: dict[str, Any]
) -> None:
    verdict = market.set(T, **fault).judge()
    issue = verdict.issues.filter(pl.col("rule") == rule)
    assert (issue["session"].item(), issue["severity"].item()) == (market.days[T], "rejected")
    assert market.quality() is None


def test_rounding_of_a_vendor_is_no_contradiction_but_is_made_to_fit_the_constraint(market: Market) -> None:
    market.set(T, open=pl.col("high") * (1 + 5e-7))
    kept = market.judge().bars.filter((pl.col("session") == market.days[T]) & (pl.col("instrument_id") == X))
    assert market.quality() == ("good", "")
    assert kept["high"].item() == kept["open"].item()


def test_of_two_rows_for_one_session_the_fuller_is_kept_whatever_their_order(market: Market) -> None:
    here = (pl.col("session") == market.days[T]) & (pl.col("instrument_id") == X)
    partial = market.frame.filter(here).with_columns(pl.col("volume") / 3, pl.col("close") * 1.001)
    full = market.frame.filter(here)["volume"].item()
    for frame in (pl.concat([market.frame, partial]), pl.concat([partial, market.frame])):
        verdict = Market(market.days, frame).judge()
        assert verdict.issues["rule"].to_list() == ["duplicate_bar"]
        assert verdict.bars.filter(here)["volume"].to_list() == [full]


def test_a_row_of_a_closed_day_is_refused_at_the_next_session(market: Market) -> None:
    saturday = next(day + timedelta(days=1) for day in market.days[T:] if day.weekday() == 4)
    stray = market.frame.filter((pl.col("session") == market.days[T]) & (pl.col("instrument_id") == X))
    market.frame = pl.concat([market.frame, stray.with_columns(pl.lit(saturday).alias("session"))])
    issue = market.judge().issues
    assert issue["rule"].to_list() == ["not_a_session"]
    assert (issue["bar_session"].item(), issue["session"].item()) == (saturday, saturday + timedelta(days=2))
    assert saturday not in set(market.judge().bars["session"])


@pytest.mark.parametrize("factor", [100.0, 0.01, 92.0, 1 / 109])
def test_a_price_a_hundred_times_off_is_bad(market: Market, factor: float) -> None:
    market.scale(factor, T, T)
    quality, rules = market.quality() or ("", "")
    assert quality == "bad" and "unit_error" in rules


def test_a_single_field_a_hundredth_of_the_others_is_a_unit_error(market: Market) -> None:
    assert market.set(T, low=pl.col("low") / 100).quality() == ("bad", "unit_error")


@pytest.mark.parametrize("factor", [60.0, 1 / 140])
def test_other_factors_are_jumps_not_unit_errors(market: Market, factor: float) -> None:
    found = market.scale(factor, T).found()
    assert "unit_error" not in found and found["jump"] == [(T, T)]


def test_a_consolidation_of_a_hundred_that_was_announced_is_no_unit_error(market: Market) -> None:
    assert market.scale(100, T).act(T, "split", 0.01).found() == {}


def test_a_frozen_bar_is_suspect(market: Market) -> None:
    for name in ("open", "high", "low", "close"):
        here = (pl.col("session") == market.days[T - 1]) & (pl.col("instrument_id") == X)
        market.set(T, **{name: market.frame.filter(here)[name].item()})
    assert market.quality() == ("suspect", "frozen_bar")


def test_no_volume_is_suspect_where_there_used_to_be_some(market: Market) -> None:
    assert market.set(T, volume=0.0).quality() == ("suspect", "zero_volume")
    kept = market.set(T, volume=None).judge().bars
    assert kept.filter(pl.col("rules") == "zero_volume")["volume"].to_list() == [0.0]


def test_an_index_never_has_volume_and_is_left_alone(market: Market) -> None:
    market.frame = market.frame.with_columns(
        pl.when(pl.col("instrument_id") == X).then(0.0).otherwise("volume").alias("volume")
    )
    assert market.found() == {}


def test_a_week_at_one_price_without_a_trade_is_bad_from_its_fifth_session(market: Market) -> None:
    price = market.close(T)
    for at in range(T, T + 8):
        market.set(at, open=price, high=price, low=price, close=price, volume=0.0)
    found = market.found()
    assert [bar for _, bar in found["frozen_bar"]] == list(range(T + 1, T + 8))
    assert [bar for _, bar in found["stale_price"]] == list(range(T + 5, T + 8))
    assert (market.quality(T + 5) or ("",))[0] == "bad"


def test_a_jump_without_an_action_is_suspect_and_its_aftermath_is_not(market: Market) -> None:
    assert market.scale(1.3, T).found() == {"jump": [(T, T)]}
    assert market.quality() == ("suspect", "jump")


def test_an_action_explains_a_jump(market: Market) -> None:
    special = 0.8 * market.close(T - 1)
    assert market.scale(0.2, T).act(T, "dividend", special).found() == {}


def test_a_day_on_which_everything_moves_is_no_jump(market: Market) -> None:
    names = [f"us:T{k:02d}" for k in range(INSTRUMENTS)]
    assert market.scale(0.8, T, names=names).judge().issues.is_empty()
    spread = np.random.default_rng(3).normal(1, 0.15, INSTRUMENTS)
    for name, factor in zip(names, spread, strict=True):
        market.scale(float(factor), T + 2, names=[name])
    assert market.judge().issues.is_empty()


def test_a_bad_print_is_a_jump_that_the_next_bar_takes_back(market: Market) -> None:
    market.scale(1.3, T, T)
    assert market.found(last=T) == {"jump": [(T, T)]}
    assert market.found() == {"jump": [(T, T)], "jump_reversed": [(T + 1, T)]}


def test_a_forming_bar_is_provisional(market: Market) -> None:
    assert market.set(T, provisional=True).quality() == ("suspect", "forming_bar")


def test_a_change_of_currency_is_seen_once(market: Market) -> None:
    for at in range(T, T + 4):
        market.set(at, currency=pl.lit("EUR"))
    assert [bar for _, bar in market.found()["currency_change"]] == [T, T + 4]


class TestSplits:
    def test_one_that_was_applied_is_silent(self, market: Market) -> None:
        assert market.scale(0.25, T).act(T, "split", 4.0).found() == {}

    @pytest.mark.parametrize("factor", [1.0, 1 / 16], ids=["no move", "moved twice"])
    def test_announced_but_not_applied(self, market: Market, factor: float) -> None:
        market.scale(factor, T).act(T, "split", 4.0)
        assert market.found() == {"split_not_applied": [(T, T)]}
        assert market.judge().actions["rules"].to_list() == ["split_not_applied"]

    @pytest.mark.parametrize("ratio", [2.0, 3.0, 0.1])
    def test_applied_but_not_announced_is_known_two_bars_later(self, market: Market, ratio: float) -> None:
        market.scale(1 / ratio, T)
        assert market.found(last=T + 1) == {"jump": [(T, T)]}
        assert market.found() == {"jump": [(T, T)], "split_not_announced": [(T + 2, T)]}

    def test_a_collapse_on_heavy_trading_is_not_a_split(self, market: Market) -> None:
        market.scale(0.5, T).set(T, volume=pl.col("volume") * 20)
        assert market.found() == {"jump": [(T, T)]}


class TestDividends:
    def test_one_the_price_confirms_is_silent(self, market: Market) -> None:
        assert market.scale(0.9, T).act(T, "dividend", 0.1 * market.close(T - 1)).found() == {}

    def test_one_too_small_to_see_is_silent(self, market: Market) -> None:
        assert market.act(T, "dividend", 0.004 * market.close(T - 1)).found() == {}

    def test_one_as_large_as_the_price_is_doubted(self, market: Market) -> None:
        assert set(market.act(T, "dividend", 1.2 * market.close(T - 1)).found()) == {"dividend_unit"}

    def test_a_hundred_times_too_large(self, market: Market) -> None:
        market.act(T, "dividend", 0.4 * market.close(T - 1))
        assert market.found() == {"dividend_unit": [(T, T)]}
        assert market.quality() == ("good", "")  # the price is right
        assert market.judge().actions["rules"].to_list() == ["dividend_unit"]

    def test_a_hundred_times_too_small(self, market: Market) -> None:
        found = market.scale(0.8, T).act(T, "dividend", 0.002 * market.close(T - 1)).found()
        assert found["dividend_unit"] == [(T, T)]

    def test_half_confirmed_is_implausible_when_nearer_to_none(self, market: Market) -> None:
        found = market.scale(0.91, T).act(T, "dividend", 0.4 * market.close(T - 1)).found()
        assert found["dividend_implausible"] == [(T, T)]

    def test_in_another_currency_than_the_quote(self, market: Market) -> None:
        market.act(T, "dividend", 0.01 * market.close(T - 1), currency="EUR")
        assert set(market.found()) == {"dividend_unit"}

    def test_a_spin_off_booked_as_split_and_dividend(self, market: Market) -> None:
        market.scale(0.75, T).act(T, "split", 4 / 3).act(T, "dividend", 0.25 * market.close(T - 1))
        assert market.found() == {"dividend_implausible": [(T, T)]}

    def test_an_ex_date_without_a_bar_is_judged_by_the_next_and_marks_nothing_earlier(self, market: Market) -> None:
        market.drop(T).act(T, "dividend", 0.4 * market.close(T - 1))
        assert market.found()["dividend_unit"] == [(T + 1, T + 1)]
        assert market.judge().actions["rules"].to_list() == [""]


class TestMissingSessions:
    def test_a_row_of_nulls(self, market: Market) -> None:
        found = market.set(T, open=None, high=None, low=None, close=None).found()
        assert set(found) == {"null_bar", "missing_session_vendor_null"}

    def test_an_absent_row(self, market: Market) -> None:
        assert market.drop(T).found() == {"missing_session_absent_row": [(T, T)]}

    def test_a_known_halt(self, market: Market) -> None:
        market.options["halts"] = pl.DataFrame({"session": [market.days[T]], "instrument_id": [X]})
        assert market.drop(T).found() == {"missing_session_halted": [(T, T)]}

    def test_trading_that_had_already_stopped(self, market: Market) -> None:
        price = market.close(T)
        for at in (T, T + 1):
            market.set(at, open=price, high=price, low=price, close=price, volume=0.0)
        assert market.drop(T + 2).found()["missing_session_halted"] == [(T + 2, T + 2)]

    def test_a_session_outside_the_listing(self, market: Market) -> None:
        listing = {"instrument_id": [X], "first": [market.days[0]], "last": [market.days[T]]}
        market.options["listings"] = pl.DataFrame(listing)
        market.drop(T, T + 1)
        assert market.found() == {
            "missing_session_absent_row": [(T, T)],
            "missing_session_not_listed": [(T + 1, T + 1)],
        }

    def test_a_name_that_was_never_covered_is_a_matter_of_coverage(self, market: Market) -> None:
        assert market.drop(0, len(market.days) - 1).found() == {}

    def test_a_row_that_was_rejected_is_not_missing_too(self, market: Market) -> None:
        assert set(market.set(T, volume=-1.0).found()) == {"negative_volume"}


def test_basis_breaks_are_written_at_the_session_they_were_seen(market: Market) -> None:
    seen = {"session": market.days[T - LOOKBACK : T + 1 : LOOKBACK], "instrument_id": X, "ticker": X, "factor": 0.25}
    market.options["basis_breaks"] = pl.DataFrame(seen)
    assert market.found() == {"basis_break": [(T, T)]}


def troubled(seed: int) -> Market:
    """A market with every fault at once, on several instruments and sessions, the lookback included."""
    market, rng = calm(seed), np.random.default_rng(seed)
    names = [f"us:T{k:02d}" for k in range(INSTRUMENTS)]
    for name in names[:20]:
        at = int(rng.integers(5, len(market.days) - 5))
        market.scale(float(rng.choice([100.0, 0.5, 1.4, 0.1])), at, int(rng.choice([at, len(market.days) - 1])), [name])
        market.set(int(rng.integers(5, len(market.days))), name, volume=0.0)
        market.set(int(rng.integers(5, len(market.days))), name, open=pl.col("high") * 1.1)
        market.drop(int(rng.integers(5, len(market.days))), name=name)
        row = {"session": market.days[int(rng.integers(5, len(market.days)))], "instrument_id": name}
        kind, value = [("split", 2.0), ("dividend", 20.0), ("dividend", 0.3)][int(rng.integers(0, 3))]
        market.actions = pl.concat([market.actions, pl.DataFrame({**row, "kind": kind, "value": value})])
    return market


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_sessions_judged_one_by_one_and_all_at_once_get_the_same_verdict(seed: int) -> None:
    market = troubled(seed)
    whole = market.judge()
    daily = [market.judge(first=at, last=at) for at in range(LOOKBACK, len(market.days))]
    assert len(set(whole.issues["rule"])) >= 6
    for part in ("bars", "issues", "actions"):
        one_by_one = pl.concat([getattr(verdict, part) for verdict in daily])
        assert_frame_equal(getattr(whole, part), one_by_one, check_row_order=False, check_exact=True)


def test_nothing_said_later_changes_a_verdict(market: Market) -> None:
    before = market.judge(last=T)
    market.scale(3.0, T + 1).act(T + 2, "split", 5.0)
    after = market.judge()
    held = pl.col("session") <= market.days[T]
    assert_frame_equal(before.bars, after.bars.filter(held))
    assert_frame_equal(before.issues, after.issues.filter(held))


def test_columns_it_does_not_know_pass_through(market: Market) -> None:
    market.frame = market.frame.with_row_index("note")
    assert market.judge().bars["note"].n_unique() == JUDGED * INSTRUMENTS


def test_no_bars_at_all_is_not_an_error(market: Market) -> None:
    market.frame = market.frame.clear()
    verdict = market.judge()
    assert verdict.bars.is_empty() and verdict.issues.is_empty()


def test_sessions_out_of_order_are_refused(market: Market) -> None:
    with pytest.raises(ValueError, match="ascending"):
        assess(market.frame, market.actions, market.expected, market.days[::-1])


def test_every_session_rule_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    assert [name for name, rule in RULES.items() if rule.judged != "receipt" and f'"{name}"' not in text] == []
