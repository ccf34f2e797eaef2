"""The page of a configuration: what stands on it, arranged for its template."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.reports import wording
from trading_pipeline.reports.backtests import drawing, parameter_map, trades, words
from trading_pipeline.reports.backtests.axes import NARROW, NARROW_LOW, WIDE, WIDE_LOW, Size, logarithmic
from trading_pipeline.reports.backtests.inputs import BacktestInputs
from trading_pipeline.reports.backtests.written import as_toml
from trading_pipeline.reports.pages import environment, markup
from trading_pipeline.research.performance.drawdowns import (
    MONTHS,
    monthly_table,
    rolling_sharpe,
    underwater,
    worst_drawdowns,
)
from trading_pipeline.research.performance.measures import METRICS
from trading_pipeline.sessions import calendar

TALL, NARROW_TALL = (1000, 400), (354, 340)
WINDOW = 126
"""Sessions of the rolling Sharpe ratio: half a year."""
DRAWDOWNS = 10
WINDOWS = 12
"""Windows of the walk-forward in the open; more are folded away."""
SAME = 1e-9
"""Shares of equity that differ by no more are the same share."""
SETS = 60
"""Sets of parameters that are listed, the best."""

KEY = ("total_return", "cagr", "sharpe", "maximum_drawdown", "volatility", "deflated_sharpe", "win_rate", "turnover")
GROUPS = (
    ("Growth and risk", ("total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "omega")),
    ("Falls", ("maximum_drawdown", "maximum_drawdown_sessions", "longest_drawdown_sessions", "value_at_risk_95",
               "conditional_value_at_risk_95", "skew", "kurtosis", "tail_ratio")),
    ("Trades", ("trades", "win_rate", "profit_factor", "expectancy", "average_win", "average_loss",
                "average_trade_return", "exposure", "time_in_market", "turnover")),
    ("Against the benchmark", ("alpha", "beta", "information_ratio")),
    ("How far to believe it", ("sessions", "trials", "probabilistic_sharpe", "minimum_track_record",
                               "deflated_sharpe")),
)  # fmt: skip
COMPARED = ("total_return", "cagr", "volatility", "sharpe", "sortino", "maximum_drawdown", "longest_drawdown_sessions")
MEASURES = {
    "final_return": "Return at the end",
    "maximum_drawdown": "Deepest drawdown",
    "sharpe": "Sharpe ratio",
}
METHODS = {
    "blocks": "Returns drawn anew in blocks",
    "trades": "Trades drawn anew, one after the other",
}
SHARPE_OF = {"blocks": "Sharpe ratio a year", "trades": "Sharpe ratio of a trade"}
QUANTILES = ("p05", "p25", "p50", "p75", "p95")
_METRIC = {metric.name: metric for metric in METRICS}


def backtest_page(inputs: BacktestInputs) -> str:
    """The page of a configuration as one HTML page (UTF-8 text) that needs nothing else to be read."""
    return environment().get_template("backtest.html.j2").render(_view(inputs))


def _view(inputs: BacktestInputs) -> dict[str, Any]:
    exchange = calendar(inputs.market.exchange)
    row = inputs.row
    as_of = row["data_as_of"]
    return {
        "inputs": inputs,
        "row": row,
        "title_of": row["title"] or row["configuration"],
        "currency": inputs.market.currency,
        "span": words.span(inputs),
        "yearly": words.yearly(inputs, row["cagr"]),
        "headline": words.headline(inputs),
        "verdict": words.verdict(row),
        "warnings": words.warnings(inputs),
        "traded": inputs.trades.height > 0,
        "key": [_metric(inputs, name) for name in KEY],
        "groups": [(title, [_metric(inputs, name) for name in names]) for title, names in GROUPS],
        "compared": _compared(inputs),
        "equity": _equity(inputs),
        "months": _months(inputs),
        "month_names": [name.capitalize() for name in MONTHS],
        "rolling": _rolling(inputs),
        "window": WINDOW,
        "exposure": _exposure(inputs),
        "drawdowns": worst_drawdowns(inputs.returns, inputs.sessions, DRAWDOWNS).to_dicts(),
        "lists": trades.lists(inputs),
        "open": inputs.open.to_dicts(),
        "shown": trades.SHOWN,
        "listed": WINDOWS,
        "reasons": trades.reasons(inputs),
        "reason_words": words.REASONS,
        "distribution": _distribution(inputs),
        "map": _map(inputs),
        "walk": _walk(inputs),
        "chances": _chances(inputs),
        "costs": _costs(inputs),
        "coverage": _coverage(inputs),
        "toml": as_toml(inputs.configuration),
        "as_of": wording.moment(as_of, exchange.timezone) if as_of else "unknown",
        "generated_at": wording.moment(inputs.generated_at, exchange.timezone),
        "shade": parameter_map.shade,
    }


def _both(draw: Callable[[Size], str], wide: Size, narrow: Size) -> dict[str, Any]:
    return {"wide": markup(draw(wide)), "narrow": markup(draw(narrow))}


def _metric(inputs: BacktestInputs, name: str) -> dict[str, Any]:
    metric, value = _METRIC[name], inputs.row[name]
    if name in ("cagr", "calmar"):
        value = words.yearly(inputs, value)
    shown = wording.cash(value, inputs.market.currency) if metric.unit == "money" else _worded(name, value)
    return {"title": metric.title, "value": shown, "means": metric.description, "formula": metric.formula}


def _worded(name: str, value: float | None) -> str:
    unit = _METRIC[name].unit
    if unit in ("fraction", "probability"):
        return wording.percent(value)
    return wording.number(value, 2 if unit == "ratio" else 0)


def _compared(inputs: BacktestInputs) -> list[dict[str, Any]]:
    """Growth and risk beside those of the benchmark; empty where it has too few bars."""
    held = inputs.held
    if held is None:
        return []
    names = [name for name in COMPARED if name != "cagr" or words.years(inputs) >= 1]
    return [
        {"title": _METRIC[name].title, "own": _worded(name, inputs.row[name]), "other": _worded(name, held[name])}
        for name in names
    ]


def _equity(inputs: BacktestInputs) -> dict[str, Any]:
    days = inputs.days
    sessions, equity = days["session"].to_list(), days["equity"].to_numpy()
    fall = np.concatenate([[0.0], underwater(inputs.returns)])
    level = days["level"].fill_null(np.nan).to_numpy()
    known = np.isfinite(level)
    under = np.full(len(level), np.nan)
    if known.any():
        under[known] = level[known] / np.maximum.accumulate(level[known]) - 1
    drawn = _both(lambda size: drawing.equity_chart(sessions, equity, level, fall, under, size), TALL, NARROW_TALL)
    best, worst = int(equity.argmax()), int(equity.argmin())
    return {
        **drawn,
        "log": logarithmic(equity, level),
        "high": (equity[best], sessions[best]),
        "low": (equity[worst], sessions[worst]),
        "level": float(level[known][-1]) if known.any() else None,
    }


def _months(inputs: BacktestInputs) -> dict[str, Any]:
    """Years by months, with the benchmark's years."""
    table = monthly_table(inputs.returns, inputs.sessions)
    held = inputs.benchmark_days
    others: dict[int, float] = {}
    if held.height > 2:
        level = held["benchmark"].to_numpy()
        told = monthly_table(level[1:] / level[:-1] - 1, held["session"].to_numpy()[1:].astype("datetime64[D]"))
        others = dict(told.select("year", "total").iter_rows())
    rows = [
        {"year": row["year"], "months": [row[name] for name in MONTHS], "total": row["total"],
         "other": others.get(row["year"])}
        for row in table.iter_rows(named=True)
    ]  # fmt: skip
    every = [value for row in rows for value in row["months"] if value is not None]
    return {
        "rows": rows,
        # The scale of the shades: one month far off the rest must not bleach them.
        "scale": float(np.quantile(np.abs(every), 0.9)) if every else 0.0,
        "year_scale": max((abs(row["total"]) for row in rows), default=0.0),
        "gained": sum(value > 0 for value in every),
        "moved": sum(value != 0 for value in every),
        "count": len(every),
        "best": max(every, default=None),
        "worst": min(every, default=None),
    }


def _rolling(inputs: BacktestInputs) -> dict[str, Any] | None:
    ratio = rolling_sharpe(inputs.returns, WINDOW)
    known = np.isfinite(ratio)
    if known.sum() < 2:
        return None
    first = int(np.argmax(known))
    sessions, shown = inputs.days["session"].to_list()[first + 1 :], ratio[first:]
    whole = inputs.row["sharpe"]
    drawn = _both(lambda size: drawing.ratio_chart(sessions, shown, size, whole), WIDE_LOW, NARROW_LOW)
    values = shown[np.isfinite(shown)]
    return {**drawn, "low": float(values.min()), "high": float(values.max()), "above": float((values > 0).mean())}


def _exposure(inputs: BacktestInputs) -> dict[str, Any]:
    days = inputs.days
    sessions = days["session"].to_list()
    gross, net = days["gross"].to_numpy(), days["net"].to_numpy()
    months = (
        days.with_row_index("place")
        .group_by(pl.col("session").dt.truncate("1mo"), maintain_order=True)
        .agg(pl.col("place").first().alias("first"), pl.col("place").last().alias("last"), pl.col("turnover").sum())
    )
    bars = [(int(first), int(last), float(value)) for _, first, last, value in months.iter_rows()]
    short = bool((np.abs(gross - net) > SAME).any())
    signed = net if short else None
    return {
        **_both(lambda size: drawing.exposure_chart(sessions, gross, signed, bars, size), WIDE, NARROW),
        "mean": float(gross.mean()),
        "most": float(gross.max()),
        "names": int(days["positions"].to_numpy().max()),
        "mean_names": float(days["positions"].to_numpy().mean()),
        "short": short,
    }


def _distribution(inputs: BacktestInputs) -> dict[str, Any] | None:
    told = trades.distribution(inputs)
    if told is None:
        return None
    edges, counts = told
    returns = inputs.closed["return"]
    return {
        **_both(lambda size: drawing.histogram(edges, counts, size), WIDE_LOW, NARROW_LOW),
        "median": returns.median(),
        "worst": returns.min(),
        "best": returns.max(),
    }


def _map(inputs: BacktestInputs) -> dict[str, Any] | None:
    told = parameter_map.parameter_map(inputs.parameter_sweeps)
    if told is None:
        return None
    drawn = None
    if told.cells:
        drawn = {
            "wide": markup(parameter_map.drawn(told, parameter_map.tall(told, WIDE[0]))),
            "narrow": markup(parameter_map.drawn(told, parameter_map.tall(told, NARROW[0]))),
        }
    named: list[tuple[str, dict[str, Any]]] = []
    for label, each in (("Configured", told.configured), ("Most stable", told.plateau), ("Highest", told.best)):
        if each is not None:
            named.append((label, each))
    return {
        "told": told,
        "drawn": drawn,
        "sentence": words.mapped(told),
        "named": [{**each, "label": label, "words": told.named(each)} for label, each in named],
        "neighbours": [
            {**each, "label": "Neighbour", "words": told.named(each)}
            for each in told.neighbours
            if all(each is not other for _, other in named)
        ],
        "sets": [{**each, "label": None, "words": told.named(each)} for each in told.sets[:SETS]],
        "late": inputs.parameter_sweeps["last_session"].max(),
    }


def _walk(inputs: BacktestInputs) -> dict[str, Any]:
    windows = inputs.walk_forward.sort("window")
    if windows.is_empty():
        return {"rows": [], "why": words.why_no_windows(inputs)}
    joined = inputs.walk_forward_equity.sort("session")
    # What the backtest made on the same sessions, the first included: from its equity at the close before them.
    days = inputs.days.select(
        "session", own="equity", before=pl.col("equity").shift(1, fill_value=inputs.row["capital"])
    )
    both = joined.join(days, on="session", how="left", maintain_order="left")
    sessions, walked = both["session"].to_list(), both["equity"].to_numpy()
    own = (both["own"] / both["before"].drop_nulls().first() * inputs.row["capital"]).fill_null(np.nan).to_numpy()
    number = {session: place for place, session in enumerate(sessions)}
    begins = [number[day] for day in windows["test_first"].to_list()[1:] if day in number]
    train, test = windows["train_sharpe"].to_list(), windows["test_sharpe"].to_list()
    ranges = list(inputs.configuration.walk_forward.parameters)
    drawn = None
    if len(sessions) > 1:
        drawn = _both(lambda size: drawing.walked_chart(sessions, walked, own, begins, size), WIDE, NARROW)
    dots = None
    if windows.height > 1 and any(each is not None for each in (*train, *test)):
        dots = _both(lambda size: drawing.windows_chart(train, test, size), WIDE_LOW, NARROW_LOW)
    return {
        "rows": [{**row, "chosen": _chosen(row["parameters"], ranges)} for row in windows.iter_rows(named=True)],
        "sentence": words.walked(inputs),
        "ranges": ranges,
        "drawn": drawn,
        "dots": dots,
        "last": sessions[-1] if sessions else None,
        "own": float(own[-1]) if len(own) else None,
        "end": float(walked[-1]) if len(walked) else None,
    }


def _chosen(parameters: str, ranges: list[str]) -> str:
    """The parameters a training could choose among; `as configured` where there was no choice."""
    told = json.loads(parameters)
    return ", ".join(f"{name} {parameter_map.shown(told.get(name))}" for name in ranges) or "as configured"


def _chances(inputs: BacktestInputs) -> dict[str, Any] | None:
    rows = inputs.monte_carlo
    if rows.is_empty():
        return None
    bands = inputs.monte_carlo_bands.filter(pl.col("method") == "blocks").sort("session")
    drawn = None
    if bands.height > 1:
        both = bands.join(inputs.days.select("session", "equity"), on="session", how="left", maintain_order="left")
        sessions, actual = both["session"].to_list(), both["equity"].fill_null(np.nan).to_numpy()
        at = {name: both[name].to_numpy() for name in QUANTILES}
        pairs = [(at["p05"], at["p95"]), (at["p25"], at["p75"])]
        drawn = _both(lambda size: drawing.bands_chart(sessions, pairs, at["p50"], actual, size), WIDE, NARROW)
    methods = []
    for method, label in METHODS.items():
        told = {row["measure"]: row for row in rows.filter(pl.col("method") == method).iter_rows(named=True)}
        if told:
            methods.append(
                {
                    "label": label,
                    "loss": told["loss"]["mean"] if "loss" in told else None,
                    "ruin": told["ruin"]["mean"] if "ruin" in told else None,
                    "rows": [
                        {**told[name], "label": SHARPE_OF[method] if name == "sharpe" else title,
                         "percent": name != "sharpe"}
                        for name, title in MEASURES.items()
                        if name in told
                    ],
                }
            )  # fmt: skip
    return {
        "drawn": drawn,
        "methods": methods,
        "paths": int(rows["paths"][0]),
        "last": rows["last_session"].max(),
    }


def _costs(inputs: BacktestInputs) -> dict[str, Any]:
    days, row = inputs.days, inputs.row
    paid = {
        "Fees": float(days["fees"].sum()),
        "Slippage": float(days["slippage"].sum()),
        "Borrow of short positions": float(days["borrow"].sum()),
        "Haircut of delisted holdings": float(days["haircut"].sum()),
    }
    total, mean = sum(paid.values()), float(days["equity"].to_numpy().mean())
    length = max(words.years(inputs), 1e-9)
    before = row["equity"] - row["capital"] + total
    return {
        "rows": [
            {"label": label, "money": value, "share": value / row["capital"], "yearly": value / mean / length}
            for label, value in [*paid.items(), ("All of it", total)]
        ],
        "total": total,
        "before": before,
        "eaten": total / before if before > 0 else None,
    }


def _coverage(inputs: BacktestInputs) -> dict[str, Any]:
    days, threshold = inputs.days, inputs.configuration.coverage.threshold
    share = days["coverage"].to_numpy()
    sessions = days["session"].to_list()
    drawn = None
    if share.min() < 1:
        drawn = _both(lambda size: drawing.coverage_chart(sessions, share, threshold, size), WIDE_LOW, NARROW_LOW)
    return {
        "drawn": drawn,
        "mean": float(share.mean()),
        "least": float(share.min()),
        "worst": sessions[int(share.argmin())],
        "whole": int((share >= 1).sum()),
        "low": int((share < threshold).sum()),
        "threshold": threshold,
    }
