"""Signals: what each setup asks for, one ingredient at a time; when none may be given; what tilts them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.live import (
    SIGNAL_COLUMNS,
    Multipliers,
    SessionContext,
    SessionFeatures,
    load_rules,
    signals,
)
from trading_pipeline.research.live.context import live_names
from trading_pipeline.tables import TRADE_SIGNALS
from trading_pipeline_tests.live_days import MINUTE, OPENS_AT, context, minutes, snapshot

RULES = load_rules()

QUIET = [100 + 0.05 * math.sin(number) for number in range(50)]
FADE = [*QUIET, 99.7, 99.3, 98.9, 99.25]
"""A quiet session, a fall beyond every band, and a close that turns back inside."""
BREAK = [*(100 + number / 30 for number in range(30)), *(100.9 + 0.03 * math.sin(n) for n in range(30)), 101.1]
"""A rise, half an hour below its high, and a close above it."""
PULL_BACK = [
    *(100 + n / 40 for n in range(60)),
    101.5,
    101.45,
    101.4,
    101.3,
    101.2,
    101.1,
    101.05,
    101.1,
    101.05,
    101.35,
]
"""A rise, ten minutes back towards VWAP, and a close beyond the bar before."""


@dataclass(frozen=True)
class Case:
    """A name with its closes and all that is known of it; signals are asked for at its last bar."""

    closes: list[float]
    known: dict[str, Any]
    mean: float | None = 100.0
    sigma: float | None = 0.5
    volumes: tuple[float | None, ...] | None = None
    mirrored: bool = False

    def bars(self) -> pl.DataFrame:
        """Its bars; mirrored: about a price of 100."""
        closes = [200 - close for close in self.closes] if self.mirrored else self.closes
        return minutes("us:A", closes, volumes=self.volumes)

    def context(self) -> SessionContext:
        """Its session; mirrored: with the opposite bias, regime and environment."""
        known = dict(self.known)
        if self.mirrored:
            turned = {"long": "short", "bull": "bear", "A": "D", "B": "C", "C": "B", "D": "A"}
            turned |= {after: before for before, after in turned.items()}
            known = {
                name: turned.get(value, value) if isinstance(value, str) else value for name, value in known.items()
            }
        return context(**known)

    def features(self, known: SessionContext) -> tuple[SessionFeatures, datetime]:
        """Its features after the last bar, and the tick that took that one in."""
        bars, features = self.bars(), SessionFeatures(known.ids, snapshot("us:A", self.mean, self.sigma), RULES)
        before = known.opens_at + (bars.height - 1) * MINUTE
        features.advance(before, bars[:-1])
        features.advance(before + MINUTE, bars[-1:])
        return features, before + MINUTE

    def signals(self, **how: Any) -> pl.DataFrame:
        """What is decided at the last bar."""
        known = self.context()
        features, at = self.features(known)
        return signals(features, known, how.pop("rules", RULES), at, **how)


FADED = Case(FADE, {})
BROKEN = Case(BREAK, {"bias": "long"}, sigma=1.0)
RESUMED = Case(PULL_BACK, {"bias": "long"}, sigma=1.0)


# --- the setups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [FADED, BROKEN, RESUMED], ids=["fade", "break", "pull-back"])
def test_the_columns_are_those_of_the_table_that_are_decided_before_sizing(case):
    found = case.signals()
    assert found.height == 1 and found.schema == SIGNAL_COLUMNS
    filed = found.drop("edges", "sector").with_columns(
        book=pl.lit("paper"), outcome=pl.lit("ordered"), outcome_reason=pl.lit(""), quantity=pl.lit(1, pl.Int64)
    )
    TRADE_SIGNALS.conform(filed)


def test_an_over_extension_that_turns_is_faded_towards_vwap():
    found = FADED.signals().row(0, named=True)
    features, at = FADED.features(FADED.context())
    assert (found["setup"], found["side"], found["price"]) == ("mean_reversion", "long", 99.25)
    assert found["signal_id"] == "20250917-A-mean_reversion-142400" and found["tick_at"] == at
    assert found["target"] == pytest.approx(features.state.vwap[0])
    assert found["stop"] == pytest.approx(min(99.25 - 0.15 * 2.0, 98.9 - 0.01))
    risk, reward = found["price"] - found["stop"], found["target"] - found["price"]
    assert found["reward_to_risk"] == pytest.approx(reward / risk) and reward / risk >= 1.5
    assert found["reasons"].splitlines() == [
        "turns back inside the rolling band after an over-extension",
        "5.7 sigma below the session's mean at the bar before",
        "premarket band -2 touched",
        f"{found['reward_to_risk']:.1f} times the risk to the target",
        "bias unknown",
        "environment unknown, market unknown",
    ]


@pytest.mark.parametrize(
    ("why", "case"),
    [
        ("no premarket band", replace(FADED, mean=None)),
        ("inside the first band", replace(FADED, sigma=3.0)),
        ("still falling", replace(FADED, closes=[*FADE[:-1], 98.8])),
        ("turned, but not back inside", replace(FADED, closes=[*FADE[:-1], 98.95])),
        ("no over-extension before", replace(FADED, closes=[*QUIET, 99.95, 99.97])),
        ("no room to VWAP for the stop", replace(FADED, known={"atr": 8.0})),
        ("one bar too late", replace(FADED, closes=[*FADE, 99.3])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fade_needs_every_one_of_its_ingredients(why, case):
    assert case.signals().is_empty(), why


def test_without_volume_the_mean_of_the_session_is_what_a_fade_returns_to():
    case = replace(FADED, volumes=(None,) * len(FADE))
    found = case.signals().row(0, named=True)
    assert found["vwap_distance_pct"] is None
    assert found["target"] == pytest.approx(float(np.mean(FADE)))


def test_a_break_of_a_range_that_held_is_followed_with_the_bias():
    found = BROKEN.signals().row(0, named=True)
    assert (found["setup"], found["side"]) == ("trend_continuation", "long")
    assert found["stop"] == pytest.approx(101.1 - 0.15 * 2.0) and found["target"] == pytest.approx(101.1 + 0.3 * 2.0)
    assert found["reasons"].splitlines()[0] == "breaks the range of the session, above VWAP"


def test_a_pull_back_that_holds_vwap_is_followed_when_it_resumes():
    found = RESUMED.signals().row(0, named=True)
    features, _ = RESUMED.features(RESUMED.context())
    assert found["reasons"].splitlines()[0] == "resumes after a pull-back that stayed above VWAP"
    assert found["stop"] == pytest.approx(101.35 - features.state.sigma[0])
    assert found["reward_to_risk"] == 2.0


@pytest.mark.parametrize(
    ("why", "case"),
    [
        ("bias against", replace(BROKEN, known={"bias": "short"})),
        ("no bias, and a market on neither side", replace(BROKEN, known={"bias": "neutral", "regime": "sideways"})),
        ("no bias, and the market against", replace(BROKEN, known={"bias": "neutral", "regime": "bear"})),
        ("bias of no confidence", replace(BROKEN, known={"bias": "long", "confidence": 0.0})),
        ("no new high", replace(BROKEN, closes=[*BREAK[:-2], 100.93, 100.95])),
        ("the high had not held", replace(BROKEN, closes=[*BREAK[:45], 101.1])),
        ("beyond the last premarket band", replace(BROKEN, sigma=0.3)),
        ("exhausted", replace(BROKEN, closes=[*QUIET, 100.6])),
        ("the day's range is spent", replace(BROKEN, known={"bias": "long", "atr": 0.8})),
        ("no pull-back before", replace(RESUMED, closes=[*PULL_BACK[:-2], 101.3, 101.35])),
        ("not beyond the bar before", replace(RESUMED, closes=[*PULL_BACK[:-1], 101.1])),
        ("VWAP was lost", replace(RESUMED, closes=[*PULL_BACK[:-2], 100.7, 101.35])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_continuation_needs_every_one_of_its_ingredients(why, case):
    assert case.signals().filter(pl.col("setup") == "trend_continuation").is_empty(), why


def test_a_bull_market_stands_in_for_a_missing_bias():
    assert replace(BROKEN, known={"regime": "bull", "environment": "A"}).signals().height == 1


def test_a_target_beyond_the_days_range_is_moved_in():
    """The session's low is 99.99; one and a half ranges above it lie at 101.64, nearer than twice the risk."""
    found = replace(BROKEN, known={"bias": "long", "atr": 1.1}).signals().row(0, named=True)
    assert found["target"] == pytest.approx(BREAK[0] - 0.01 + 1.5 * 1.1)
    assert 1.5 <= found["reward_to_risk"] < 2.0


@pytest.mark.parametrize("case", [FADED, BROKEN, RESUMED], ids=["fade", "break", "pull-back"])
@pytest.mark.parametrize("environment", ["A", "C"])
def test_shorts_are_the_mirror_of_longs(case, environment):
    known = {**case.known, "environment": environment, "regime": "bull"}
    long, short = replace(case, known=known), replace(case, known=known, mirrored=True)
    ours, theirs = long.signals().row(0, named=True), short.signals().row(0, named=True)
    assert (ours["side"], theirs["side"]) == ("long", "short") and ours["setup"] == theirs["setup"]
    for name in ("price", "stop"):
        assert theirs[name] == pytest.approx(200 - ours[name], abs=1e-9)
    assert theirs["target"] == pytest.approx(200 - ours["target"], abs=1e-2)
    for name in ("strength", "edges", "multiplier"):
        assert theirs[name] == pytest.approx(ours[name], abs=1e-9)


# --- stops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("atr", "expected"),
    [(2.0, 0.3), (None, "sigma"), (1.9, 0.285), (0.5, 0.25)],
    ids=["noise of bars", "no range known", "scaled", "half a day at most"],
)
def test_a_stop_is_a_sigma_away_within_shares_of_the_average_true_range(atr, expected):
    lenient = replace(RULES, trend_continuation=replace(RULES.trend_continuation, least_reward=-9.0))
    case = replace(BROKEN, known={"bias": "long", "atr": atr})
    features, _ = case.features(case.context())
    sigma = features.state.sigma[0]
    assert 0.285 < sigma < 0.3
    distance = sigma if expected in ("sigma", 0.285) else expected
    assert case.signals(rules=lenient)["stop"].to_list() == pytest.approx([101.1 - distance])


# --- tilts ----------------------------------------------------------------------------------------------------------


def strength(case: Case, tilt: Multipliers | None = None, **known: Any) -> float:
    lenient = replace(RULES, timing=replace(RULES.timing, least_strength=0.0))
    tilted = replace(case, known={**case.known, **known})
    return tilted.signals(multipliers=tilt, rules=lenient)["strength"].item()


def test_strength_falls_with_the_environment_for_longs_and_unknown_is_no_better_than_c():
    by_grade = [strength(BROKEN, environment=grade) for grade in ("A", "B", "C", "D")]
    assert by_grade == sorted(by_grade, reverse=True) and len(set(by_grade)) == 4
    assert strength(BROKEN, environment=None) == by_grade[2]


def test_market_and_bias_strengthen_their_own_side():
    bear, sideways, bull = (strength(FADED, regime=regime) for regime in ("bear", "sideways", "bull"))
    assert bear < sideways < bull and bull / sideways == pytest.approx(1.15, rel=1e-2)
    against, none, half, sure = (
        strength(FADED, bias=bias, confidence=confidence)
        for bias, confidence in (("short", 1.0), ("neutral", 1.0), ("long", 0.5), ("long", 1.0))
    )
    assert against < none < half < sure


def test_market_and_bias_move_the_threshold_of_a_fade():
    """The bar before is 2.1 sigma below the rolling mean: enough, unless market or bias is against it."""
    closes = [100 + 0.5 * math.sin(number / 6) for number in range(60)]
    closes += [99.3, 99.0, 99.1, 99.25]
    case = Case(closes, {"atr": 1.0})
    features, _ = case.features(case.context())
    assert 2.1 < -features.state.previous_z_rolling[0] < 2.2 < -features.state.previous_z_session[0]
    assert case.signals().height == 1
    assert replace(case, known={"atr": 1.0, "regime": "bear"}).signals().is_empty()
    assert replace(case, known={"atr": 1.0, "bias": "short"}).signals().is_empty()
    assert replace(case, known={"atr": 1.0, "bias": "short", "confidence": 0.05}).signals().height == 1


def test_the_market_analysis_scales_strength_by_setup_and_side():
    plain = strength(FADED)
    assert strength(FADED, Multipliers(mean_reversion=0.8)) == pytest.approx(0.8 * plain, abs=1e-8)
    assert strength(FADED, Multipliers(long=0.9, short=2.0, trend_continuation=2.0)) == pytest.approx(
        0.9 * plain, abs=1e-8
    )
    assert strength(FADED, Multipliers(mean_reversion=0.5, long=0.5)) == pytest.approx(0.5 * plain, abs=1e-8)
    assert strength(FADED, Multipliers(mean_reversion=2.0, long=2.0)) == min(1.0, 2 * plain)
    found = FADED.signals(multipliers=Multipliers(mean_reversion=1.25))
    assert found["multiplier"].to_list() == [1.25]
    assert found["reasons"].item().splitlines()[-1] == "market analysis: times 1.25"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1", True])
def test_a_multiplier_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="the multiplier long is"):
        Multipliers(long=value)


def test_multipliers_are_clamped_wherever_they_come_from():
    assert Multipliers(0.0, 99.0, -3.0, 1.5) == Multipliers(0.5, 2.0, 0.5, 1.5)
    row = {"tick_at": OPENS_AT, "mean_reversion": 7.0, "trend_continuation": 1, "long": 0.1, "short": 1.0}
    assert Multipliers.of(row) == Multipliers(2.0, 1.0, 0.5, 1.0)
    assert Multipliers(mean_reversion=2.0, long=2.0).of_signal("mean_reversion", 1) == 2.0


def test_a_signal_that_the_tilts_left_too_weak_is_not_given():
    assert FADED.signals(multipliers=Multipliers(mean_reversion=0.5)).is_empty()


def test_edges_count_what_speaks_for_a_signal():
    assert FADED.signals()["edges"].item() == 2  # the setup, and a deep band
    assert replace(FADED, sigma=0.9).signals()["edges"].item() == 1
    full = replace(FADED, known={"bias": "long", "regime": "bull", "environment": "A"})
    assert full.signals(multipliers=Multipliers(long=1.1))["edges"].item() == 5
    loud = (*[1000.0] * (len(BREAK) - 1), 3000.0)
    assert BROKEN.signals()["edges"].item() == 2
    assert replace(BROKEN, volumes=loud).signals()["edges"].item() == 3


# --- when there is none ---------------------------------------------------------------------------------------------


def at_minute(minute: int) -> Case:
    """The fade, its last bar complete so many minutes after the open."""
    return replace(FADED, closes=[100 + 0.05 * math.sin(n) for n in range(minute - 4)] + FADE[-4:])


@pytest.mark.parametrize(("minute", "given"), [(24, 1), (360, 1), (361, 0), (389, 0)])
def test_none_is_given_near_the_close(minute, given):
    assert at_minute(minute).signals().height == given


@pytest.mark.parametrize(("minute", "given"), [(14, 0), (15, 1)])
def test_none_is_given_near_the_open(minute, given):
    early = replace(RULES, timing=replace(RULES.timing, warm_up_bars=12), features=replace(RULES.features, window=12))
    case, known = at_minute(minute), FADED.context()
    features = SessionFeatures(known.ids, snapshot("us:A", 100.0, 0.5), early)
    features.advance(OPENS_AT + (minute - 1) * MINUTE, case.bars()[:-1])
    features.advance(OPENS_AT + minute * MINUTE, case.bars()[-1:])
    assert signals(features, known, early, OPENS_AT + minute * MINUTE).height == given


def test_none_is_given_while_sigma_warms_up():
    """20 bars by now, and the window was full one bar later."""
    late = replace(RULES, timing=replace(RULES.timing, warm_up_bars=25))
    assert at_minute(24).signals(rules=late).is_empty() and at_minute(25).signals(rules=late).height == 1


def test_half_days_end_earlier():
    half = {"hours": 3.5}
    assert replace(at_minute(180), known=half).signals().height == 1
    assert replace(at_minute(181), known=half).signals().is_empty()


def test_the_same_bar_decides_once():
    known = FADED.context()
    features, at = FADED.features(known)
    assert signals(features, known, RULES, at).height == 1
    features.advance(at + MINUTE / 2, FADED.bars().clear())
    assert signals(features, known, RULES, at + MINUTE / 2).is_empty()


@pytest.mark.parametrize(("age", "given"), [(0, 1), (29, 1), (30, 0), (600, 0)])
def test_a_stale_bar_gives_none(age, given):
    """The limit is 90 s from the end of the bar; this one is taken in 60 s and `age` seconds after it."""
    known, late = FADED.context(), OPENS_AT + len(FADE) * MINUTE + timedelta(seconds=60 + age)
    features = SessionFeatures(known.ids, snapshot("us:A", 100.0, 0.5), RULES)
    features.advance(late - MINUTE, FADED.bars()[:-1])
    features.advance(late, FADED.bars()[-1:])
    assert signals(features, known, RULES, late).height == given


@pytest.mark.parametrize(("bars_since", "given"), [(4, 0), (5, 1)])
def test_after_a_halt_none_is_given_until_the_price_is_found(bars_since, given):
    bars = FADED.bars().with_row_index("number")
    moved = pl.when(pl.col("number") >= len(FADE) - bars_since).then(timedelta(minutes=20)).otherwise(timedelta())
    bars = bars.with_columns(started_at=pl.col("started_at") + moved).drop("number")
    known, at = FADED.context(), OPENS_AT + (len(FADE) + 20) * MINUTE
    features = SessionFeatures(known.ids, snapshot("us:A", 100.0, 0.5), RULES)
    features.advance(at - MINUTE, bars[:-1])
    features.advance(at, bars[-1:])
    assert signals(features, known, RULES, at).height == given


def test_the_index_is_never_traded():
    assert replace(FADED, known={"benchmark_id": "us:A"}).signals().is_empty()


def earlier(minutes_before: float, setup: str = "mean_reversion", side: str = "long", of: str = "us:A") -> pl.DataFrame:
    at = OPENS_AT + len(FADE) * MINUTE - timedelta(minutes=minutes_before)
    columns = ["instrument_id", "setup", "side", "tick_at"]
    return pl.DataFrame([(of, setup, side, at)], schema={name: SIGNAL_COLUMNS[name] for name in columns}, orient="row")


@pytest.mark.parametrize(
    ("given", "height"),
    [
        (earlier(29), 0),
        (earlier(30), 1),
        (earlier(29, of="us:Z"), 1),
        (earlier(10, "trend_continuation", "long"), 1),
        (earlier(14, "trend_continuation", "short"), 0),
        (earlier(15, "trend_continuation", "short"), 1),
        (pl.concat([earlier(5, "trend_continuation", "long"), earlier(14, "trend_continuation", "short")]), 1),
        (earlier(0), 1),
        (earlier(-5), 1),
    ],
    ids=[
        "cooling",
        "cooled",
        "another name",
        "another setup",
        "turned",
        "turned long ago",
        "turned twice",
        "itself",
        "later",
    ],
)
def test_signals_before_hold_back_the_same_setup_and_the_other_side_for_a_while(given, height):
    assert FADED.signals(given=given).height == height


def test_setups_that_disagree_on_the_side_are_no_signal_and_of_two_that_agree_the_stronger_is_given():
    """Rules under which every close is a fade and a continuation of both sides."""
    lax = replace(
        RULES,
        mean_reversion=replace(RULES.mean_reversion, z_session=-99.0, z_rolling=-99.0, least_reward=-99.0),
    )
    assert BROKEN.signals(rules=lax)["setup"].to_list() == ["trend_continuation"]
    known = BROKEN.context()
    features, at = BROKEN.features(known)
    features.state.previous_z_session[:], features.state.previous_z_rolling[:] = 4.0, 4.0
    features.state.z_rolling[:], features.state.previous_close[:] = 0.0, 101.2
    tolerant = replace(RULES, mean_reversion=replace(RULES.mean_reversion, least_reward=0.1))
    short = replace(known, names=known.names.with_columns(bias=pl.lit(None, pl.String)), regime="sideways")
    assert signals(features, short, tolerant, at)["side"].to_list() == ["short"]
    assert signals(features, known, tolerant, at).is_empty()


def test_the_strongest_comes_first_and_ties_go_by_ticker():
    ids = [f"us:{letter}" for letter in "DCBA"]
    known = context(ids)
    names = known.names.with_columns(bias=pl.when(pl.col("ticker") == "C").then(pl.lit("long")), confidence=pl.lit(1.0))
    known = replace(known, names=names)
    bars = pl.concat([minutes(each, FADE) for each in ids])
    snapshots = pl.concat([snapshot(each, 100.0, 0.5) for each in ids])
    features = SessionFeatures(known.ids, snapshots, RULES)
    last = pl.col("started_at") == pl.col("started_at").max()
    at = OPENS_AT + len(FADE) * MINUTE
    features.advance(at - MINUTE, bars.filter(~last))
    features.advance(at, bars.filter(last))
    assert signals(features, known, RULES, at)["ticker"].to_list() == ["C", "A", "B", "D"]


def test_features_and_context_must_follow_the_same_names():
    features, at = FADED.features(FADED.context())
    with pytest.raises(ValueError, match="follow different instruments"):
        signals(features, context(["us:A", "us:B"]), RULES, at)


def test_names_without_bias_or_snapshot_are_followed_all_the_same():
    followed = pl.DataFrame({"instrument_id": ["us:B", "us:A"], "ticker": ["B", "A"], "sector": [None, "Energy"]})
    bias = pl.DataFrame({"instrument_id": ["us:A"], "bias": ["long"], "confidence": [0.4]})
    levels = pl.DataFrame({"instrument_id": ["us:B"], "atr_14": [2.5], "previous_close": [50.0]})
    assert live_names(followed, bias, levels).rows() == [
        ("us:A", "A", "Energy", "long", 0.4, None, None),
        ("us:B", "B", None, None, None, 2.5, 50.0),
    ]
