"""Every metric of a backtest, in one pass over its returns and trades.

What belongs here: computing what `measures.py` declares. What does not: curves and tables (`drawdowns.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.performance.deflated_sharpe import (
    deflated_sharpe,
    expected_maximum_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    sharpe_variance_factor,
)
from trading_pipeline.research.performance.drawdowns import drawdowns
from trading_pipeline.research.performance.measures import METRICS, METRICS_SCHEMA
from trading_pipeline.research.performance.series import (
    SESSIONS_A_YEAR,
    STILL,
    PerformanceError,
    checked_returns,
    equity_curve,
    per_session,
    sharpe_ratio,
    varies,
)

Metrics = dict[str, float | int | None]


def metrics(
    returns: npt.ArrayLike,
    trades: pl.DataFrame | None = None,
    exposure: npt.ArrayLike | None = None,
    turnover: npt.ArrayLike | None = None,
    benchmark: npt.ArrayLike | None = None,
    *,
    sessions_a_year: int = SESSIONS_A_YEAR,
    trials: int = 1,
    trial_variance: float | None = None,
    risk_free: float = 0.0,
) -> Metrics:
    """Every metric of `METRICS` by its name, in that order; None where it is not defined, never NaN or infinite.

    returns: simple, one a session. trades: [profit, return] of closed trades, profit in money, return on the trade's
    cost; a null profit is a trade still open and does not count. exposure: value of all positions, long and short, over
    equity, one a session. turnover: half of what was bought and sold, over equity, one a session. benchmark: returns,
    one a session, NaN where there is none. trials: how many variants were tried before this one was chosen, or how many
    independent ones they amount to (`independent_trials`, rounded). trial_variance: variance of their Sharpe ratios a
    session, by default what chance alone makes. risk_free: a year.
    `PerformanceError` names what cannot be used.
    """
    values = checked_returns(returns)
    if sessions_a_year < 1:
        raise PerformanceError(f"a year must have a session at least: got {sessions_a_year}")
    if not risk_free > -1 or not math.isfinite(risk_free):
        raise PerformanceError(f"the risk-free rate must be a fraction a year above -1: got {risk_free}")
    free = per_session(risk_free, sessions_a_year)
    told: Metrics = {"sessions": len(values), "trials": trials}
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite in the end, and so not defined
        told |= _growth(values, free, sessions_a_year)
        told |= _distribution(values)
        told |= _deepest(values)
        told |= _of_trades(trades)
        told |= _holdings(values, exposure, turnover, sessions_a_year)
        told |= _against(values, benchmark, free, sessions_a_year)
        told |= _calmar(told) | _significance(values - free, trials, trial_variance)
    return {metric.name: _defined(told.get(metric.name)) for metric in METRICS}


def metrics_frame(rows: Mapping[str, Metrics], key: str = "strategy") -> pl.DataFrame:
    """[key, *METRICS]: one row a name, in the order given; undefined metrics are null."""
    named = [{key: name, **row} for name, row in rows.items()]
    return pl.DataFrame(named, schema={key: pl.String, **METRICS_SCHEMA}, orient="row")


def _defined(value: float | int | None) -> float | int | None:
    return value if value is not None and math.isfinite(value) else None


def _growth(values: Floats, free: float, year: int) -> Metrics:
    if not len(values):
        return {}
    total = float(equity_curve(values)[-1])
    excess = values - free
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2)))
    shortfall = float(np.maximum(-excess, 0.0).sum())
    several, root = len(values) > 1, math.sqrt(year)
    none = STILL * float(np.abs(values).max())
    try:
        yearly = total ** (year / len(values)) - 1.0
    except OverflowError:  # a few sessions of large gains, extrapolated to a year
        yearly = math.inf
    return {
        "total_return": total - 1.0,
        "cagr": yearly,
        "volatility": float(values.std(ddof=1)) * root if several else None,
        "sharpe": float(sharpe_ratio(excess)) * root,
        "sortino": float(excess.mean()) / downside * root if several and downside > none else None,
        "omega": float(np.maximum(excess, 0.0).sum()) / shortfall if shortfall > none else None,
    }


def _distribution(values: Floats) -> Metrics:
    if not len(values):
        return {}
    low, high = (float(each) for each in np.quantile(values, [0.05, 0.95]))
    told: Metrics = {
        "value_at_risk_95": low,
        "conditional_value_at_risk_95": float(values[values <= low].mean()),
        "tail_ratio": abs(high) / abs(low) if low else None,
    }
    return told | dict(zip(("skew", "kurtosis"), _moments(values), strict=True))


def _moments(values: Floats) -> tuple[float | None, float | None]:
    """Skew and kurtosis of the population; None where nothing varies."""
    if not varies(values):
        return None, None
    centred = values - values.mean()
    standard = centred / math.sqrt(float(np.mean(centred**2)))
    return float(np.mean(standard**3)), float(np.mean(standard**4))


def _deepest(values: Floats) -> Metrics:
    if not len(values):
        return {}
    found = drawdowns(values)
    if not len(found.depth):
        return {"maximum_drawdown": 0.0, "maximum_drawdown_sessions": 0, "longest_drawdown_sessions": 0}
    worst = int(np.argmin(found.depth))
    end = int(found.end[worst])
    return {
        "maximum_drawdown": float(found.depth[worst]),
        "maximum_drawdown_sessions": int(found.sessions[worst]),
        "maximum_drawdown_start_row": int(found.start[worst]),
        "maximum_drawdown_trough_row": int(found.trough[worst]),
        "maximum_drawdown_end_row": None if end < 0 else end,
        "longest_drawdown_sessions": int(found.sessions.max()),
    }


def _calmar(told: Metrics) -> Metrics:
    yearly, fall = told.get("cagr"), told.get("maximum_drawdown")
    return {"calmar": yearly / abs(fall) if yearly is not None and fall else None}


def _of_trades(trades: pl.DataFrame | None) -> Metrics:
    if trades is None:
        return {}
    missing = [name for name in ("profit", "return") if name not in trades.columns]
    if missing:
        raise PerformanceError(f"trades lack the column {' and '.join(missing)}: give profit (money) and return")
    closed = trades.select(pl.col("profit", "return").cast(pl.Float64)).filter(pl.col("profit").is_not_null())
    profit, gain = closed["profit"].to_numpy(), closed["return"].drop_nulls().to_numpy()
    if not (np.isfinite(profit).all() and np.isfinite(gain).all()):
        raise PerformanceError("a trade's profit or return is not finite: leave the profit of an open trade null")
    if not len(profit):
        return {"trades": 0}
    wins, losses = profit[profit > 0], profit[profit < 0]
    return {
        "trades": len(profit),
        "win_rate": len(wins) / len(profit),
        "profit_factor": float(wins.sum() / -losses.sum()) if len(losses) else None,
        "expectancy": float(profit.mean()),
        "average_win": float(wins.mean()) if len(wins) else None,
        "average_loss": float(losses.mean()) if len(losses) else None,
        "average_trade_return": float(gain.mean()) if len(gain) else None,
    }


def _holdings(values: Floats, exposure: npt.ArrayLike | None, turnover: npt.ArrayLike | None, year: int) -> Metrics:
    told: Metrics = {}
    if exposure is not None:
        held = _aligned(values, checked_returns(exposure, "exposure"), "exposure")
        told["exposure"] = float(held.mean()) if len(held) else None
        told["time_in_market"] = float(np.mean(held > 0)) if len(held) else None
    if turnover is not None:
        turned = _aligned(values, checked_returns(turnover, "turnover"), "turnover")
        told["turnover"] = float(turned.mean()) * year if len(turned) else None
    return told


def _against(values: Floats, benchmark: npt.ArrayLike | None, free: float, year: int) -> Metrics:
    if benchmark is None:
        return {}
    market = _aligned(values, np.asarray(benchmark, dtype=np.float64), "benchmark")
    both = np.isfinite(market)
    own, market = values[both] - free, market[both] - free
    told: Metrics = {"information_ratio": float(sharpe_ratio(own - market)) * math.sqrt(year)}
    if varies(market):
        apart = market - market.mean()
        beta = float(((own - own.mean()) * apart).sum() / (apart**2).sum())
        told |= {"beta": beta, "alpha": (float(own.mean()) - beta * float(market.mean())) * year}
    return told


def _significance(excess: Floats, trials: int, trial_variance: float | None) -> Metrics:
    expected_maximum_sharpe(trials, 0.0 if trial_variance is None else trial_variance)  # refuses what is none
    skew, kurtosis = _moments(excess)
    if skew is None or kurtosis is None:
        return {}
    sharpe = float(sharpe_ratio(excess))
    if not sharpe_variance_factor(sharpe, skew, kurtosis) > 0:
        return {}
    record = minimum_track_record(sharpe, skew, kurtosis)
    return {
        "probabilistic_sharpe": probabilistic_sharpe(sharpe, len(excess), skew, kurtosis),
        "minimum_track_record": None if record is None else math.ceil(record),
        "deflated_sharpe": deflated_sharpe(sharpe, len(excess), skew, kurtosis, trials, trial_variance),
    }


def _aligned(values: Floats, other: Floats, what: str) -> Floats:
    if other.shape != values.shape:
        raise PerformanceError(f"{what} must be one number a session: got {other.shape} for {len(values)} returns")
    return other
