"""Cointegration: whether a combination of prices that each wander keeps coming back.

What belongs here: the tests of Engle and Granger and of Johansen, the half-life of a spread, and corrections for having
looked at many pairs. What does not: which pairs are looked at and what is traded on them (`pairs.py`).

Prices are logarithms, so that a hedge ratio is a ratio of money: 1 in one leg against the ratio in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trading_pipeline.research.panel import Floats, Mask

Trend: TypeAlias = Literal["c", "ct"]
Correction: TypeAlias = Literal["benjamini_yekutieli", "benjamini_hochberg", "bonferroni", "none"]

_METHODS = {"benjamini_yekutieli": "fdr_by", "benjamini_hochberg": "fdr_bh", "bonferroni": "bonferroni"}

COLLINEAR = 1.5e-6
"""1 - R² below which the residual is rounding and says nothing; statsmodels' own bound, 100 square roots of epsilon."""


@dataclass(frozen=True)
class EngleGranger:
    """statistic: t of the residual's autoregression. coefficients: of the regressors, in order; then the constant and,
    with a trend, its slope per row. residual: of the cointegrating regression."""

    statistic: float
    p_value: float
    coefficients: Floats
    residual: Floats


def engle_granger(dependent: Floats, regressors: Floats, lags: int, trend: Trend = "c") -> EngleGranger:
    """Engle and Granger's test with a fixed number of lagged differences; the null is no cointegration.

    dependent: rows. regressors: rows x series. A regression in levels with a constant (and a linear trend), then an
    augmented Dickey-Fuller regression of its residual without either. Engle and Granger, Co-integration and Error
    Correction, Econometrica 55 (1987). A residual that is no more than rounding has a NaN statistic.
    """
    rows = len(dependent)
    terms = [regressors, np.ones((rows, 1))]
    if trend == "ct":
        terms.append(np.arange(1.0, rows + 1)[:, None])
    design = np.column_stack(terms)
    coefficients = np.asarray(np.linalg.lstsq(design, dependent, rcond=None)[0], dtype=np.float64)
    residual: Floats = dependent - design @ coefficients
    spread = dependent - dependent.mean()
    if residual @ residual <= COLLINEAR * (spread @ spread):
        return EngleGranger(float("nan"), float("nan"), coefficients, residual)
    change = np.diff(residual)
    lagged = [change[lags - lag : len(change) - lag] for lag in range(1, lags + 1)]
    right = np.column_stack([residual[lags:-1], *lagged])
    left = change[lags:]
    slope = np.linalg.lstsq(right, left, rcond=None)[0]
    noise = left - right @ slope
    variance = noise @ noise / (len(left) - right.shape[1])
    statistic = slope[0] / np.sqrt(variance * np.linalg.inv(right.T @ right)[0, 0])
    value = mackinnon_p(np.array([statistic]), 1 + regressors.shape[1], trend)[0]
    return EngleGranger(float(statistic), float(value), coefficients, residual)


@np.errstate(divide="ignore", invalid="ignore")
def engle_granger_pairs(prices: Floats, lags: int) -> Floats:
    """The statistic of `engle_granger` of every ordered pair at once: series x series, the row's one is the dependent.

    prices: rows x series, no NaN. NaN on the diagonal and where a residual is no more than rounding. Residuals are
    never formed: every sum of their regressions is a combination of products between series, which are a few matrix
    products for all pairs together: 1.3 ms for the 1,980 ordered pairs of 45 series over 504 rows, where one by one
    they take 0.3 s here and 1.9 s in statsmodels, and 0.14 s for all those of 500 series.
    """
    rows, series = prices.shape
    level = prices - prices.mean(axis=0)
    change = np.diff(level, axis=0)
    count = rows - 1 - lags
    variables = [change[lags:], level[lags:-1]]
    variables += [change[lags - lag : len(change) - lag] for lag in range(1, lags + 1)]
    squares = level.T @ level
    own = np.diag(squares)
    hedge = squares / own[None, :]
    # Of the residual i - hedge x j, for two of the variables a and b: sum of a x b.
    moments = np.empty((len(variables), len(variables), series, series))
    for first, one in enumerate(variables):
        for second, other in enumerate(variables[: first + 1]):
            product = one.T @ other
            own_product = np.diag(product)
            both = own_product[:, None] - hedge * (product + product.T) + hedge**2 * own_product[None, :]
            moments[first, second] = moments[second, first] = both
    told = (own[:, None] - hedge * squares) > COLLINEAR * own[:, None]
    told &= ~np.eye(series, dtype=np.bool_)
    right = np.where(told, moments[1:, 1:], np.eye(len(variables) - 1)[:, :, None, None]).transpose(2, 3, 0, 1)
    left = np.where(told, moments[0, 1:], 0.0).transpose(1, 2, 0)
    inverse = np.linalg.inv(right)
    slope = (inverse * left[:, :, None, :]).sum(axis=3)
    variance = (moments[0, 0] - (slope * left).sum(axis=2)) / (count - (len(variables) - 1))
    return np.where(told, slope[:, :, 0] / np.sqrt(variance * inverse[:, :, 0, 0]), np.nan)


@np.errstate(over="ignore", invalid="ignore")
def mackinnon_p(statistic: Floats, series: int, trend: Trend = "c") -> Floats:
    """Approximate p-values of Engle and Granger's statistic; NaN for NaN.

    series: how many there are, the dependent one included. MacKinnon, Approximate Asymptotic Distribution Functions
    for Unit-Root and Cointegration Tests, Journal of Business & Economic Statistics 12 (1994); its tables are read
    from statsmodels, whose own function takes one statistic at a time.
    """
    from scipy.special import ndtr
    from statsmodels.tsa import adfvalues

    least, star, most, small, large = (
        getattr(adfvalues, f"tau_{name}")[series - 1]
        for name in (f"min_{trend}", f"star_{trend}", f"max_{trend}", f"{trend}_smallp", f"{trend}_largep")
    )
    curve = np.where(statistic <= star, np.polyval(small[::-1], statistic), np.polyval(large[::-1], statistic))
    value: Floats = np.where(statistic > most, 1.0, np.where(statistic < least, 0.0, ndtr(curve)))
    return np.where(np.isnan(statistic), np.nan, value)


@dataclass(frozen=True)
class Johansen:
    """trace, critical: statistic and 95 % critical value of the hypotheses of rank at most 0, 1, …. vectors: columns
    are the cointegrating vectors, the most stationary first."""

    trace: Floats
    critical: Floats
    vectors: Floats

    @property
    def rank(self) -> int:
        """How many cointegrating relations there are at 95 %: the first hypothesis that stands."""
        stands = self.trace <= self.critical
        return int(np.argmax(stands)) if stands.any() else len(self.trace)


def johansen(levels: Floats, lags: int, trend_order: Literal[-1, 0, 1] = 0) -> Johansen:
    """Johansen's trace test of rows x series with `lags` lagged differences.

    trend_order: -1 no deterministic term, 0 a constant, 1 a linear trend. Johansen, Estimation and Hypothesis Testing
    of Cointegration Vectors, Econometrica 59 (1991); the computation is statsmodels'.
    """
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    result = coint_johansen(levels, trend_order, lags)
    return Johansen(np.asarray(result.trace_stat), np.asarray(result.trace_stat_crit_vals[:, 1]), result.evec)


def half_life(spread: Floats) -> float:
    """Rows in which a spread halves its distance from its mean: -ln 2 / ln(1 + b) of change = a + b x level.

    The first-order autoregression of an Ornstein-Uhlenbeck process seen at fixed times. inf where it does not return
    (b at or above 0), 0 where it overshoots its mean within a row (b at or below -1).
    """
    level = spread[:-1] - spread[:-1].mean()
    slope = float(level @ np.diff(spread) / (level @ level))
    if slope >= 0:
        return float("inf")
    return float(-np.log(2) / np.log1p(slope)) if slope > -1 else 0.0


def rejected(p_values: Floats, level: float, correction: Correction) -> Mask:
    """Which null hypotheses fall when all of them were tested; an unusable test (NaN) stands and still counts.

    Benjamini and Yekutieli (Annals of Statistics 29, 2001) bound the share of false discoveries whatever the tests'
    dependence; pairs that share a leg are dependent, in ways for which Benjamini and Hochberg (1995) is not proven.
    Bonferroni bounds the chance of a single one.
    """
    if not len(p_values):
        return np.zeros(0, dtype=np.bool_)
    values = np.where(np.isnan(p_values), 1.0, p_values)
    if correction == "none":
        return np.asarray(values <= level)
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(values, level, _METHODS[correction])[0], dtype=np.bool_)
