"""Pairs: two stocks of one sector whose log prices are cointegrated, traded when their spread is stretched.

Pairs are chosen on the first session of a period from the training window that ends there, and traded until the next
choice with hedge ratio, constant and scale as they were fitted. Of all pairs of a sector those whose daily returns
correlate are tested for cointegration (Engle and Granger, both directions, the better one doubled), the p-values of all
of them corrected together, and what is left confirmed by Johansen's trace test. The correlation says nothing about the
test's statistic where the null holds, so pairs left out by it do not count as tested.

The correction holds for one choice, not for all choices of a walk together: of the pairs of each choice the share of
false ones is expected to be at most `level`.

Measure it reads: `sector`, an integer code of the instrument's sector on the session; NaN: none, and no pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, Integers, Mask, carried, last_row_with
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.cointegration import (
    Correction,
    engle_granger,
    engle_granger_pairs,
    half_life,
    johansen,
    mackinnon_p,
    rejected,
)
from trading_pipeline.research.strategies.conditions import LONGEST, decided, newly, opens_period

LEAST_KNOWN = 0.95
"""Of the training window's sessions that an instrument must have a bar on; on the others its last close stands."""

PARTNER_GAP = 5
"""Sessions without a bar after which a leg is taken for gone and the other is left."""


class PairsParameters(StrategyParameters):
    """training: sessions. choose_months: how often. lags: differences in the tests. entry, exit, stop: z of the spread.

    level: share of false discoveries (or chance of any, for Bonferroni). least_correlation: of daily log returns.
    least_hedge, most_hedge: bounds of the hedge ratio. most_half_life: sessions.
    """

    training: int = Field(756, ge=126, le=2520)
    choose_months: Literal[1, 3, 6] = 3
    lags: int = Field(1, ge=0, le=10)
    level: float = Field(0.05, gt=0, lt=1)
    correction: Correction = "benjamini_yekutieli"
    confirm: bool = True
    least_correlation: float = Field(0.5, ge=-1, lt=1)
    least_hedge: float = Field(0.2, gt=0, le=10)
    most_hedge: float = Field(5.0, gt=0, le=50)
    most_half_life: float = Field(42.0, gt=0, le=504)
    most_pairs: int = Field(20, ge=1, le=500)
    entry: float = Field(2.0, gt=0, le=10)
    exit: float = Field(0.5, ge=0, le=10)
    stop: float = Field(4.0, gt=0, le=50)

    @model_validator(mode="after")
    def _ordered(self) -> PairsParameters:
        if not self.exit < self.entry < self.stop:
            raise ValueError(f"exit ({self.exit}), entry ({self.entry}) and stop ({self.stop}) must rise in this order")
        if self.least_hedge >= self.most_hedge:
            raise ValueError(f"least_hedge ({self.least_hedge}) must be below most_hedge ({self.most_hedge})")
        if self.most_half_life > self.training / 3:
            raise ValueError(f"most_half_life ({self.most_half_life}) must be at most a third of training")
        return self


@dataclass(frozen=True)
class ChosenPair:
    """log price of `dependent` = constant + hedge_ratio x log price of `regressor` + spread, as columns of the panel.

    scale: sample standard deviation of the spread in training. p_value: of both directions, uncorrected. trace:
    Johansen's statistic of no relation, NaN where it was not asked.
    """

    dependent: int
    regressor: int
    hedge_ratio: float
    constant: float
    scale: float
    half_life: float
    statistic: float
    p_value: float
    trace: float


@dataclass(frozen=True)
class Choice:
    """What was chosen at a row's close. eligible: instruments. tests: pairs tested, which the correction counts.

    discoveries: those whose null fell, before the bounds on hedge ratio and half-life, Johansen's test and one pair a
    leg.
    """

    row: int
    eligible: int
    tests: int
    discoveries: int
    pairs: list[ChosenPair] = field(default_factory=list)


class Pairs(Strategy):
    """Long the cheap leg and short the dear one from the session the spread is stretched until it is back.

    A position is left when the spread is within `exit` of its mean, beyond `stop` (and not entered again before it has
    been back), when the other leg has had no bar for `PARTNER_GAP` sessions, and when the next choice no longer has the
    pair. A pair that is newly chosen is entered from the session after the choice on, for on that one its legs may be
    leaving others. No instrument is in two pairs at once. Weights: 1 for the dependent leg, the hedge ratio for the
    other. Confidence is half at the entry and full at twice its z.
    """

    name: ClassVar[str] = "pairs"
    description: ClassVar[str] = (
        "Buys the cheaper and sells the dearer of two stocks that have always come back together."
    )
    Parameters: ClassVar[type[StrategyParameters]] = PairsParameters
    needs: ClassVar[tuple[str, ...]] = ("sector",)
    parameters: PairsParameters

    @property
    def warm_up(self) -> int:
        """The training window, how old its first prices may be, and two periods: what was chosen before counts too."""
        return self.parameters.training + GAP + 2 * LONGEST[self.parameters.choose_months]

    def choices(self, panel: MarketPanel) -> list[Choice]:
        """Every choice that the panel has a whole training window for, in order."""
        asked = self.parameters
        rows = np.flatnonzero(opens_period(panel.axes.sessions, asked.choose_months))
        traded = panel.traded
        log_price = np.log(carried(np.where(traded, panel.close, 1.0), traded))
        return [self._choice(panel, traded, log_price, row) for row in rows.tolist() if row >= asked.training + GAP]

    def chosen(self, panel: MarketPanel) -> pl.DataFrame:
        """The chosen pairs, for a report: [session, dependent, regressor, hedge_ratio, half_life (sessions), statistic,
        p_value, trace, tests, discoveries]; a choice without a pair has no row."""
        ids, sessions = panel.axes.instrument_ids, panel.axes.sessions
        schema = {
            "session": pl.Date, "dependent": pl.String, "regressor": pl.String, "hedge_ratio": pl.Float64,
            "half_life": pl.Float64, "statistic": pl.Float64, "p_value": pl.Float64, "trace": pl.Float64,
            "tests": pl.Int64, "discoveries": pl.Int64,
        }  # fmt: skip
        rows = [
            (
                sessions[choice.row].item(), ids[pair.dependent], ids[pair.regressor], pair.hedge_ratio, pair.half_life,
                pair.statistic, pair.p_value, pair.trace, choice.tests, choice.discoveries,
            )
            for choice in self.choices(panel)
            for pair in choice.pairs
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decided on 9 decimals of the spread's z."""
        choices = self.choices(panel)
        result = SignalResult.of(
            np.zeros(panel.shape, dtype=np.bool_),
            np.ones(panel.shape, dtype=np.bool_),
            short_entries=np.zeros(panel.shape, dtype=np.bool_),
            short_exits=np.ones(panel.shape, dtype=np.bool_),
        )
        here = carried(np.where(panel.traded, 1.0, np.nan), panel.traded, PARTNER_GAP) == 1
        before = Choice(0, 0, 0, 0)
        ends = [*(choice.row for choice in choices[1:]), len(panel.close)]
        for choice, end in zip(choices, ends, strict=False):
            if choice.pairs:
                self._trade(panel, here, choice, end, before, result)
            before = choice
        return decided(result, panel, self.warm_up)

    def _trade(
        self, panel: MarketPanel, here: Mask, choice: Choice, end: int, before: Choice, out: SignalResult
    ) -> None:
        """Write the signals of a choice's pairs, from its row to before `end`.

        Of a pair that was chosen before, what is new and what was stopped is read as if its fit had held since then.
        """
        asked, pairs = self.parameters, choice.pairs
        since = before.row if before.pairs else choice.row
        rows, span, now = slice(choice.row, end), slice(since, end), choice.row - since
        first = np.array([pair.dependent for pair in pairs])
        second = np.array([pair.regressor for pair in pairs])
        hedge, constant, scale = (
            np.array([getattr(pair, name) for pair in pairs]) for name in ("hedge_ratio", "constant", "scale")
        )
        log_first, log_second = (np.log(panel.close[span, legs]) for legs in (first, second))
        score = np.round((log_first - constant - hedge * log_second) / scale, 9)
        known = {(pair.dependent, pair.regressor) for pair in before.pairs}
        held_on = np.array([(pair.dependent, pair.regressor) in known for pair in pairs])

        counts = held_on | (np.arange(len(score)) >= now)[:, None]
        stopped = counts & (np.abs(score) >= asked.stop)
        barred = last_row_with(stopped) > last_row_with(np.abs(score) <= asked.exit)
        open_to = counts & ~barred & panel.member[span, first] & panel.member[span, second]
        open_to[now] &= held_on
        cheap, dear = (newly((side <= -asked.entry) & open_to, np.isfinite(score))[now:] for side in (score, -score))
        score, stopped = score[now:], stopped[now:]

        gone = ~here[rows, first] | ~here[rows, second]
        leave_cheap = (score >= -asked.exit) | stopped | gone
        leave_dear = (score <= asked.exit) | stopped | gone
        leave_cheap[0] |= ~held_on
        leave_dear[0] |= ~held_on
        sure = np.minimum(np.abs(np.nan_to_num(score, nan=0.0)) / (2 * asked.entry), 1.0)
        for legs, long, short, leave_long, leave_short, weight in (
            (first, cheap, dear, leave_cheap, leave_dear, np.ones(len(pairs))),
            (second, dear, cheap, leave_dear, leave_cheap, hedge),
        ):
            out.entries[rows, legs] = long
            out.short_entries[rows, legs] = short
            out.exits[rows, legs] = leave_long
            out.short_exits[rows, legs] = leave_short
            out.confidence[rows, legs] = sure
            out.weight[rows, legs] = weight

    def _choice(self, panel: MarketPanel, traded: Mask, log_price: Floats, row: int) -> Choice:
        """What the training window that ends at `row` chooses."""
        asked = self.parameters
        window = slice(row - asked.training + 1, row + 1)
        sector = panel.measures["sector"][row]
        able = panel.member[row] & traded[row] & np.isfinite(sector)
        able &= traded[window].mean(axis=0) >= LEAST_KNOWN
        able &= np.isfinite(log_price[window]).all(axis=0)
        found: list[tuple[Integers, Integers, Floats]] = []
        for code in np.unique(sector[able]).tolist():
            names = np.flatnonzero(able & (sector == code))
            if len(names) > 1:
                found.append(self._tested(log_price[window][:, names], names))
        eligible = int(able.sum())
        if not found:
            return Choice(row, eligible, 0, 0)
        first, second, statistic = (np.concatenate(part) for part in zip(*found, strict=True))
        # Two directions were looked at, so the better one's p-value counts twice.
        value = np.minimum(2 * mackinnon_p(statistic, 2), 1.0)
        discovered = np.flatnonzero(rejected(value, asked.level, asked.correction))
        choice = Choice(row, eligible, len(value), len(discovered))
        order = np.lexsort((second[discovered], first[discovered], np.round(statistic[discovered], 9)))
        taken: set[int] = set()
        for each in discovered[order].tolist():
            legs = (int(first[each]), int(second[each]))
            if taken.isdisjoint(legs) and len(choice.pairs) < asked.most_pairs:
                pair = self._fitted(log_price[window], legs, float(value[each]))
                if pair is not None:
                    choice.pairs.append(pair)
                    taken.update(legs)
        return choice

    def _tested(self, prices: Floats, names: Integers) -> tuple[Integers, Integers, Floats]:
        """Dependent, regressor and statistic, in the better direction, of the pairs of one sector that correlate."""
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = np.corrcoef(np.diff(prices, axis=0), rowvar=False)
        one, other = np.nonzero(np.triu(np.round(correlation, 9) >= self.parameters.least_correlation, 1))
        statistic = engle_granger_pairs(prices, self.parameters.lags)
        forward, backward = statistic[one, other], statistic[other, one]
        # Unusable tests (NaN) stay in the count, with a statistic that rejects nothing.
        forward, backward = (np.where(np.isnan(each), np.inf, each) for each in (forward, backward))
        turned = np.round(backward, 9) < np.round(forward, 9)
        return (
            names[np.where(turned, other, one)],
            names[np.where(turned, one, other)],
            np.where(turned, backward, forward),
        )

    def _fitted(self, log_price: Floats, legs: tuple[int, int], value: float) -> ChosenPair | None:
        """The pair as it will be traded; None where bounds or Johansen's test refuse it."""
        asked = self.parameters
        both = log_price[:, list(legs)]
        test = engle_granger(both[:, 0], both[:, 1:], asked.lags)
        hedge, constant = test.coefficients.tolist()
        life = half_life(test.residual)
        if not asked.least_hedge <= hedge <= asked.most_hedge or life > asked.most_half_life:
            return None
        trace = float("nan")
        if asked.confirm:
            confirmed = johansen(both, asked.lags)
            trace = float(confirmed.trace[0])
            if confirmed.rank < 1:
                return None
        scale = float(test.residual.std(ddof=1))
        return ChosenPair(*legs, hedge, constant, scale, life, test.statistic, value, trace)
