"""The premarket page: what stands on it, arranged for its template."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.briefing import regime_sentence
from trading_pipeline.reports.pages import environment, markup
from trading_pipeline.reports.premarket.drawing import band_bar, signed_bar
from trading_pipeline.reports.premarket.inputs import PremarketInputs
from trading_pipeline.reports.premarket.words import (
    EVENTS,
    gap_reasons,
    market_line,
    morning_line,
    unknowns,
    volume_note,
)
from trading_pipeline.sessions import calendar

TOP_GAPS = 8
TOP_BIASES = 6
OTHERS_NAMED = 24
"""Names that report today and are not watched."""
NOTABLE = 1.0
"""Per cent a dip on the desk must gap by to be worth a row: the play of last night was made for another price."""


def render(inputs: PremarketInputs) -> str:
    """The premarket page as one HTML page (UTF-8 text) that needs nothing else to be read."""
    return environment().get_template("premarket.html.j2").render(_view(inputs))


def _view(inputs: PremarketInputs) -> dict[str, Any]:
    exchange = calendar(inputs.market.exchange)
    today, decided = inputs.today, inputs.decided_at
    opens, closes = exchange.open_at(inputs.session), exchange.close_at(inputs.session)
    return {
        "inputs": inputs,
        "today": today,
        "line": market_line(inputs) if inputs.watched.height else "",
        "sentence": regime_sentence(today) if today else "",
        "taken": inputs.taken,
        "decided": wording.moment(decided, exchange.timezone) if decided else None,
        "before_open": round((opens - decided) / timedelta(minutes=1)) if decided else None,
        "opens": f"{opens.astimezone(exchange.timezone):%H:%M %Z}",
        "closes": f"{closes.astimezone(exchange.timezone):%H:%M}",
        "short_day": closes - opens < _usual_hours(inputs),
        "unknowns": unknowns(inputs),
        "total": inputs.watched.height,
        "counts": {bias: inputs.watched.filter(pl.col("bias") == bias).height for bias in ("long", "short", "neutral")},
        "traded": inputs.traded.height,
        "median": inputs.traded["gap_pct"].median() if inputs.traded.height else None,
        "gaps": [(title, _gaps(inputs, up)) for title, up in (("Up", True), ("Down", False))],
        "biases": [(title, _strongest(inputs, bias)) for title, bias in (("Long", "long"), ("Short", "short"))],
        "desk": _desk(inputs),
        "events": _events(inputs),
        "sectors": _sectors(inputs),
        "names": _names(inputs),
        "as_of": wording.moment(inputs.as_of, exchange.timezone),
        "generated_at": wording.moment(inputs.generated_at, exchange.timezone),
    }


def _usual_hours(inputs: PremarketInputs) -> timedelta:
    """The length of an ordinary session: the longest of the fortnight around it."""
    exchange = calendar(inputs.market.exchange)
    near = exchange.between(exchange.offset(inputs.session, -5), inputs.session)
    return max(exchange.close_at(day) - exchange.open_at(day) for day in near)


def _gaps(inputs: PremarketInputs, up: bool) -> dict[str, Any]:
    rows = inputs.gaps(up)
    top = [
        {**row, "why": gap_reasons(row, inputs.evidence.get(row["instrument_id"], {})), "note": volume_note(row)}
        for row in rows.head(TOP_GAPS).iter_rows(named=True)
    ]
    return {"rows": top, "total": rows.height}


def _strongest(inputs: PremarketInputs, bias: str) -> dict[str, Any]:
    rows = inputs.strongest(bias)
    return {"rows": rows.head(TOP_BIASES).to_dicts(), "total": rows.height}


def _desk(inputs: PremarketInputs) -> dict[str, Any]:
    rows = inputs.desk
    moved = rows.filter(pl.col("gap_pct").abs().round(9) >= NOTABLE)
    return {
        "rows": moved.to_dicts(),
        "total": rows.height,
        "still": rows.filter(pl.col("gap_pct").is_not_null()).height - moved.height,
        "silent": rows["gap_pct"].null_count(),
        "notable": NOTABLE,
    }


def _events(inputs: PremarketInputs) -> dict[str, Any]:
    """Events of the day of the watched names, and who else reports."""
    usual = inputs.earnings.select(
        "instrument_id", "average_absolute_move", "beat_rate", "reports", "eps_estimate", "disagreement"
    )
    order = {name: place for place, name in enumerate(EVENTS)}
    told = (
        inputs.watched.filter(pl.col("events").fill_null("") != "")
        .with_columns(event=pl.col("events").str.split(","))
        .explode("event")
        .with_columns(place=pl.col("event").replace_strict(order, default=len(order), return_dtype=pl.Int32))
        .join(usual, on="instrument_id", how="left", maintain_order="left")
        .sort("place", "ticker", "instrument_id")
    )
    reporting = inputs.earnings.filter(
        (pl.col("next_report_date") == inputs.session)
        & ~pl.col("instrument_id").is_in(inputs.watched["instrument_id"].implode())
    ).sort("ticker")
    return {
        "rows": [
            {
                **row,
                "label": EVENTS.get(row["event"], decisions.spelled(row["event"])),
                "report": "report" in row["event"],
            }
            for row in told.iter_rows(named=True)
        ],
        "others": [
            f"{ticker} ({decisions.timing(timing)})"
            for ticker, timing in reporting.select("ticker", "next_timing").head(OTHERS_NAMED).iter_rows()
        ],
        "more": max(reporting.height - OTHERS_NAMED, 0),
        "calendar": inputs.earnings["next_report_date"].is_not_null().any(),
    }


def _sectors(inputs: PremarketInputs) -> list[dict[str, Any]]:
    """Median gap of each sector of which somebody traded, the highest first."""
    gap = pl.col("gap_pct")
    rows = (
        inputs.traded.with_columns(pl.col("sector").fill_null("Sector unknown"))
        .sort("gap_pct", "ticker", descending=[True, False])
        .group_by("sector", maintain_order=True)
        .agg(
            names=pl.len(),
            up=(gap.round(2) > 0).sum(),
            down=(gap.round(2) < 0).sum(),
            median=gap.median(),
            best=pl.col("ticker").first(),
            best_gap=gap.first(),
            worst=pl.col("ticker").last(),
            worst_gap=gap.last(),
        )
        .sort(pl.col("median").round(9), "sector", descending=[True, False])
    )
    most = rows["median"].abs().max() if rows.height else None
    assert most is None or isinstance(most, float)
    return [{**row, "bar": markup(signed_bar(row["median"], most or 0.0))} for row in rows.iter_rows(named=True)]


def _names(inputs: PremarketInputs) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "bar": markup(band_bar(row["band"], row["price"] is not None)) if row["band"] is not None else None,
            "note": volume_note(row),
            "line": morning_line(row),
            "lean": {"long": 1, "short": -1}.get(row["bias"] or "", 0) * (row["confidence"] or 0.0),
        }
        for row in inputs.watched.iter_rows(named=True)
    ]
