"""The metrics as a declaration: name, unit, which way is better, meaning and formula.

What belongs here: what tables, pages and marts need to know of a metric. What does not: computing any (`metrics.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

Unit = Literal["fraction", "ratio", "money", "sessions", "row", "count", "probability"]
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Metric:
    """A metric: a fraction is of equity (0.01 is 1 %), money is of the account's currency, a row counts from 0.

    description: what it tells a trader. formula: how it is computed and where that comes from. Below, r is the return
    of a session, f the risk-free rate of a session, b the benchmark's return, n the sessions a year.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    description: str
    formula: str

    @property
    def dtype(self) -> type[pl.DataType]:
        """Polars type of its values, which may be null."""
        return pl.Int64 if self.unit in {"sessions", "row", "count"} else pl.Float64


_LDP = "Bailey and Lopez de Prado"

METRICS: Final[tuple[Metric, ...]] = (
    Metric("sessions", "Sessions", "sessions", "neither", "Sessions the returns cover.", "S"),
    Metric("total_return", "Total return", "fraction", "higher", "Gain over the whole time.", "prod(1 + r) - 1"),
    Metric(
        "cagr",
        "CAGR",
        "fraction",
        "higher",
        "Gain a year, compounded.",
        "(1 + total return)^(n / S) - 1; of less than a year an extrapolation, which GIPS does not allow to show",
    ),
    Metric("volatility", "Volatility", "fraction", "lower", "Standard deviation a year.", "std(r, S - 1) sqrt(n)"),
    Metric(
        "sharpe",
        "Sharpe",
        "ratio",
        "higher",
        "Return beyond the risk-free rate for its volatility, a year.",
        "mean(r - f) / std(r - f, S - 1) sqrt(n); Sharpe 1994",
    ),
    Metric(
        "sortino",
        "Sortino",
        "ratio",
        "higher",
        "Return beyond the risk-free rate for its downside deviation, a year.",
        "mean(r - f) / sqrt(mean(min(r - f, 0)^2)) sqrt(n); Sortino and Price 1994",
    ),
    Metric(
        "calmar",
        "Calmar",
        "ratio",
        "higher",
        "Gain a year for the deepest drawdown.",
        "CAGR / |maximum drawdown|, over the whole time; Young 1991 takes the last 36 months",
    ),
    Metric(
        "omega",
        "Omega",
        "ratio",
        "higher",
        "Gains beyond the risk-free rate for shortfalls below it.",
        "sum(max(r - f, 0)) / sum(max(f - r, 0)); Keating and Shadwick 2002",
    ),
    Metric(
        "maximum_drawdown",
        "Maximum drawdown",
        "fraction",
        "higher",
        "Deepest fall from a high, a negative number.",
        "min(equity / highest equity so far - 1), the capital at the start counting as a high",
    ),
    Metric(
        "maximum_drawdown_sessions",
        "Its sessions",
        "sessions",
        "lower",
        "Sessions under water of the deepest drawdown, up to the end where the high is not regained.",
        "end row - start row",
    ),
    Metric(
        "maximum_drawdown_start_row", "Its start", "row", "neither", "First session below the high.", "row of returns"
    ),
    Metric("maximum_drawdown_trough_row", "Its trough", "row", "neither", "Session of the low.", "row of returns"),
    Metric(
        "maximum_drawdown_end_row",
        "Its end",
        "row",
        "neither",
        "Session that regains the high; null: not regained.",
        "row of returns",
    ),
    Metric(
        "longest_drawdown_sessions",
        "Longest drawdown",
        "sessions",
        "lower",
        "Most sessions under water in a row.",
        "max(end row - start row) of all drawdowns",
    ),
    Metric(
        "value_at_risk_95",
        "VaR 95",
        "fraction",
        "higher",
        "Return that 1 session in 20 falls short of.",
        "5 % quantile of r, historical, linear between ranks (Hyndman and Fan 1996, type 7)",
    ),
    Metric(
        "conditional_value_at_risk_95",
        "CVaR 95",
        "fraction",
        "higher",
        "Mean return of the worst sessions of 20.",
        "mean of r up to VaR 95, historical; Rockafellar and Uryasev 2000",
    ),
    Metric("skew", "Skew", "ratio", "higher", "Negative: rare large losses.", "m3 / m2^1.5 of the population"),
    Metric(
        "kurtosis",
        "Kurtosis",
        "ratio",
        "lower",
        "Weight of the tails, 3 for a normal distribution.",
        "m4 / m2^2 of the population, not in excess of 3",
    ),
    Metric(
        "tail_ratio",
        "Tail ratio",
        "ratio",
        "higher",
        "Large gains for large losses.",
        "|95 % quantile of r| / |5 % quantile of r|",
    ),
    Metric("trades", "Trades", "count", "neither", "Closed trades.", "count of profits"),
    Metric("win_rate", "Win rate", "fraction", "higher", "Share of the trades with a profit.", "wins / trades"),
    Metric(
        "profit_factor",
        "Profit factor",
        "ratio",
        "higher",
        "Money won for money lost; null without a loss.",
        "sum of profits / |sum of losses|",
    ),
    Metric("expectancy", "Expectancy", "money", "higher", "Mean profit of a trade.", "mean(profit)"),
    Metric("average_win", "Average win", "money", "higher", "Mean profit of the winning trades.", "mean(profit > 0)"),
    Metric(
        "average_loss",
        "Average loss",
        "money",
        "higher",
        "Mean loss of the losing trades, a negative number.",
        "mean(profit < 0)",
    ),
    Metric(
        "average_trade_return",
        "Return of a trade",
        "fraction",
        "higher",
        "Mean return of a trade on its cost.",
        "mean(return)",
    ),
    Metric(
        "exposure",
        "Exposure",
        "fraction",
        "neither",
        "Value of the positions, long and short, for the equity.",
        "mean over the sessions",
    ),
    Metric(
        "time_in_market",
        "Time in the market",
        "fraction",
        "neither",
        "Share of the sessions with a position.",
        "mean(exposure > 0)",
    ),
    Metric(
        "turnover",
        "Turnover a year",
        "ratio",
        "lower",
        "How often the portfolio is replaced in a year.",
        "mean of (bought + sold) / 2 / equity a session, times n",
    ),
    Metric(
        "alpha",
        "Alpha",
        "fraction",
        "higher",
        "Return a year that the benchmark does not explain.",
        "n (mean(r - f) - beta mean(b - f)); Jensen 1968",
    ),
    Metric(
        "beta", "Beta", "ratio", "neither", "Move for a move of 1 of the benchmark.", "cov(r - f, b - f) / var(b - f)"
    ),
    Metric(
        "information_ratio",
        "Information ratio",
        "ratio",
        "higher",
        "Return beyond the benchmark for its volatility.",
        "mean(r - b) / std(r - b, S - 1) sqrt(n); Grinold and Kahn",
    ),
    Metric(
        "probabilistic_sharpe",
        "Probabilistic Sharpe",
        "probability",
        "higher",
        "Probability that the true Sharpe ratio is above 0, for the length, skew and tails of the record.",
        f"{_LDP}, The Sharpe ratio efficient frontier, 2012",
    ),
    Metric(
        "minimum_track_record",
        "Minimum track record",
        "sessions",
        "lower",
        "Sessions after which such a Sharpe ratio is above 0 with 95 %; null where it is not above 0.",
        f"{_LDP} 2012, rounded up",
    ),
    Metric("trials", "Trials", "count", "lower", "Variants tried before this one was chosen.", "as told"),
    Metric(
        "deflated_sharpe",
        "Deflated Sharpe",
        "probability",
        "higher",
        "Probability that the true Sharpe ratio is above what the best of so many worthless trials would show.",
        f"{_LDP}, The deflated Sharpe ratio, 2014",
    ),
)

METRICS_SCHEMA: Final[dict[str, type[pl.DataType]]] = {metric.name: metric.dtype for metric in METRICS}
"""Polars types of a row of metrics, in order."""
