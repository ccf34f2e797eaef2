"""The pages: what stands on a tearsheet and on the index, arranged for their templates."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.pages import environment, markup
from trading_pipeline.reports.tearsheets import figures, places
from trading_pipeline.reports.tearsheets.drawing import price_chart
from trading_pipeline.reports.tearsheets.gates import gates
from trading_pipeline.reports.tearsheets.risks import risks
from trading_pipeline.reports.tearsheets.timing import report_line, timing
from trading_pipeline.sessions import calendar

if TYPE_CHECKING:
    from trading_pipeline.reports.tearsheets.gather import TearsheetInputs

PEERS = 8
ARTICLES = 8
SENSITIVITIES = 8
HOLDINGS = 10
WIDE, NARROW = (1000, 280), (340, 230)
LINES = ("close", "sma_50", "sma_200")
CLEAR_TONE = 0.15
"""A tone nearer to 0 is noise of whoever scored it; the dip desk draws the same line."""


class Session:
    """A session's tables, looked up by instrument: prepared once, used by every page."""

    def __init__(self, inputs: TearsheetInputs) -> None:
        self.inputs = inputs
        self.ranked = decisions.ranked(inputs.scores)
        self.tickers = decisions.tickers_of(inputs.scores, inputs.dips, inputs.members)
        self.scores = _by_id(self.ranked)
        self.fundamentals = _by_id(inputs.fundamentals)
        self.earnings = _by_id(inputs.earnings)
        self.dips = _by_id(inputs.dips)
        self.words = _by_id(inputs.analysis)
        self.indicators = _by_id(inputs.indicators)
        regime = inputs.regime.filter(pl.col("session") == inputs.session)
        self.regime = regime.row(0, named=True) if regime.height else None

    @cached_property
    def sheets(self) -> dict[str, str]:
        """Instrument id of each page, by ticker, in the order of the index."""
        found: dict[str, str] = {}
        for id_ in self.inputs.chosen:
            if id_ in self.tickers:
                found.setdefault(self.tickers[id_], id_)
        return found

    @cached_property
    def among_peers(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Each stock's figures beside the medians of its sector and size."""
        return figures.among_peers(self.inputs.scores, self.inputs.fundamentals)

    @cached_property
    def news(self) -> dict[str, list[dict[str, Any]]]:
        """Articles of each instrument, the latest first."""
        latest = self.inputs.news.sort("published_at", "article_id", descending=[True, False])
        return {
            str(key[0]): part.head(ARTICLES).to_dicts()
            for key, part in latest.partition_by("instrument_id", as_dict=True, maintain_order=True).items()
        }

    @cached_property
    def prices(self) -> dict[str, pl.DataFrame]:
        """A year of prices of each instrument."""
        parts = self.inputs.prices.partition_by("instrument_id", as_dict=True, maintain_order=True)
        return {str(key[0]): part for key, part in parts.items()}

    @cached_property
    def axis(self) -> list[date]:
        """The sessions of the year that is drawn."""
        return self.inputs.prices["session"].unique().sort().to_list()

    @cached_property
    def links(self) -> dict[str, str]:
        """Address of each page by instrument id, relative to another page of the session."""
        return {id_: places.href(self.inputs.session, ticker).partition("/")[2] for ticker, id_ in self.sheets.items()}

    @cached_property
    def stamps(self) -> dict[str, str]:
        """The moments behind the pages, on the exchange's clock."""
        timezone = calendar(self.inputs.market.exchange).timezone
        return {
            "as_of": wording.moment(self.inputs.as_of, timezone),
            "generated_at": wording.moment(self.inputs.generated_at, timezone),
        }

    def name_of(self, id_: str) -> str | None:
        """The company's name, where it is known."""
        known = self.fundamentals.get(id_)
        return known["name"] if known else None

    def why_chosen(self, id_: str) -> str:
        """Why a name has a tearsheet."""
        score, dip = self.scores.get(id_), self.dips.get(id_)
        reasons = []
        if score and score["rank"] <= self.inputs.count:
            reasons.append(f"leader {score['rank']}")
        if dip and dip["on_desk"]:
            reasons.append("dip on the desk")
        return ", ".join(reasons) or "watchlist"


def sheet_page(prepared: Session, id_: str) -> str:
    """The tearsheet of an instrument."""
    return environment().get_template("tearsheet.html.j2").render(_sheet(prepared, id_))


def index_page(prepared: Session) -> str:
    """The index of the session's tearsheets."""
    inputs = prepared.inputs
    rows = [
        {
            "instrument_id": id_,
            "ticker": ticker,
            "name": prepared.name_of(id_),
            "why": prepared.why_chosen(id_),
            "score": prepared.scores.get(id_),
            "dip": prepared.dips.get(id_),
            "words": prepared.words.get(id_),
            "calendar": prepared.earnings.get(id_),
        }
        for ticker, id_ in prepared.sheets.items()
    ]
    links = {id_: places.href(inputs.session, ticker) for ticker, id_ in prepared.sheets.items()}
    view = {"inputs": inputs, "rows": rows, "links": links, **prepared.stamps}
    return environment().get_template("tearsheets.html.j2").render(view)


def _sheet(prepared: Session, id_: str) -> dict[str, Any]:
    inputs = prepared.inputs
    score, dip, words = prepared.scores.get(id_), prepared.dips.get(id_), prepared.words.get(id_)
    known, measured, reports = (
        rows.get(id_) for rows in (prepared.fundamentals, prepared.indicators, prepared.earnings)
    )
    checks = gates(score["gates"]) if score else []
    price = score["price"] if score else dip["price"] if dip else measured["close"] if measured else None
    environment_now = prepared.regime["environment"] if prepared.regime else None
    volatility = measured["realised_volatility_21"] if measured else None
    asset_type = score["asset_type"] if score else known["asset_type"] if known else "stock"
    return {
        "inputs": inputs,
        "ticker": prepared.tickers[id_],
        "name": prepared.name_of(id_),
        "why_chosen": prepared.why_chosen(id_),
        "asset_type": asset_type,
        "sector": (score or dip or {"sector": None})["sector"],
        "price": price,
        "score": score,
        "dip": dip,
        "words": words,
        "known": known,
        "measured": measured,
        "calendar": reports,
        "regime": prepared.regime,
        "core": _core(known, asset_type, score),
        "chart": _chart(prepared, id_),
        "components": _components(score),
        "gates": checks,
        "risks": risks(score, checks, words, volatility, environment_now),
        "value": _compared(prepared, id_, figures.VALUE),
        "business": _compared(prepared, id_, figures.BUSINESS),
        "sensitivity": _sensitivity(score, known, measured, reports),
        "peers": _peers(prepared, id_, asset_type),
        "links": prepared.links,
        "timing": timing(reports) if asset_type == "stock" else None,
        "report_line": report_line(reports),
        "news": [{**article, "tone": _tone(article["sentiment"])} for article in prepared.news.get(id_, [])],
        "holdings": _holdings(known),
        "sector_weights": _sector_weights(known),
        **prepared.stamps,
    }


def _core(known: dict[str, Any] | None, asset_type: str, score: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Labels and values of the figures on top; only those that are known, dashes for a stock's."""
    values = {**(known or {})} if not known or known["data_quality"] != "bad" else {}
    if score and score["market_cap"] is not None:
        values["market_cap"] = score["market_cap"]
    if asset_type == "stock":
        return [(figure.label, figure.shown(values.get(figure.column))) for figure in figures.CORE]
    return [
        (figure.label, figure.shown(values[figure.column]))
        for figure in figures.FUND
        if values.get(figure.column) is not None
    ]


def _chart(prepared: Session, id_: str) -> dict[str, Any] | None:
    prices = prepared.prices.get(id_)
    if prices is None or prices.height < 2:
        return None
    sessions = prices["session"].to_list()
    lines = {name: prices[name].to_list() for name in LINES}
    dip, reports = prepared.dips.get(id_), prepared.earnings.get(id_)
    back = dip["sessions_since_high"] if dip else None
    # Sessions since the high are the exchange's; a name may have no bar on some of them.
    axis = prepared.axis
    high = axis[-1 - back] if back is not None and back < len(axis) and axis[-1] == prepared.inputs.session else None
    report = reports["last_report_session"] if reports else None
    return {
        "wide": markup(price_chart(sessions, lines, WIDE, high=high, report=report)),
        "narrow": markup(price_chart(sessions, lines, NARROW, high=high, report=report)),
        "first": sessions[0],
        "last": sessions[-1],
        "sessions": len(sessions),
        "high": high if high in sessions else None,
        "report": report if report in sessions else None,
        "change": lines["close"][-1] / lines["close"][0] - 1,
        **{f"last_{name}": values[-1] for name, values in lines.items()},
    }


def _components(score: dict[str, Any] | None) -> list[dict[str, Any]]:
    if score is None:
        return []
    weights = {column: score[f"weight_{column.removesuffix('_score')}"] for column in decisions.COMPONENTS}
    return [
        {"label": label, "points": score[column], "weight": weights[column]}
        for column, label in decisions.COMPONENTS.items()
        if weights[column] > 0 or score[column] is not None
    ]


def _compared(prepared: Session, id_: str, chosen: tuple[figures.Figure, ...]) -> list[dict[str, Any]]:
    """Figures beside the medians of its peers, as shown; those of which nothing at all is known are left out."""
    told = prepared.among_peers.get(id_, {})
    return [
        {
            "label": figure.label,
            "value": figure.shown(row["value"]),
            "sector": figure.shown(row["sector"]),
            "size": figure.shown(row["size"]),
            "better": row["better"],
        }
        for figure in chosen
        if (row := told.get(figure.column)) and any(row[name] is not None for name in ("value", "sector", "size"))
    ]


def _sensitivity(
    score: dict[str, Any] | None,
    known: dict[str, Any] | None,
    measured: dict[str, Any] | None,
    reports: dict[str, Any] | None,
) -> dict[str, Any] | None:
    if score is None or score["next_verdict"] is None:
        return None
    usable = known if known and known["data_quality"] != "bad" else None
    now = figures.inputs_now(usable, measured, reports)
    rows = figures.sensitivity(score["sensitivity"], now, score["price"])
    return {"next": score["next_verdict"], "points": score["points_to_next"], "rows": rows[:SENSITIVITIES]}


def _peers(prepared: Session, id_: str, asset_type: str) -> list[dict[str, Any]]:
    """The names of the same sector (funds: of the same kind) that are nearest in size, the best first."""
    score = prepared.scores.get(id_)
    if score is None or (asset_type == "stock" and score["sector"] is None):
        return []
    same = pl.col("asset_type") == asset_type
    if asset_type == "stock":
        same &= pl.col("sector") == score["sector"]
    others = prepared.ranked.filter(same & (pl.col("instrument_id") != id_))
    if score["market_cap"] is not None:
        distance = (pl.col("market_cap").log() - pl.lit(score["market_cap"]).log()).abs().round(9)
    else:
        distance = (pl.col("rank").cast(pl.Int64) - score["rank"]).abs()
    nearest = others.with_columns(distance=distance).sort("distance", "instrument_id", nulls_last=True).head(PEERS)
    rows = []
    for row in nearest.sort("rank").iter_rows(named=True):
        peer = row["instrument_id"]
        told = prepared.among_peers.get(peer, {})
        dip = prepared.dips.get(peer)
        rows.append(
            {
                **row,
                "name": prepared.name_of(peer),
                "dip_pct": dip["dip_pct"] if dip else None,
                "pe": told["pe_trailing"]["value"] if told else None,
                "return_on_equity": told["return_on_equity"]["value"] if told else None,
                "revenue_growth": told["revenue_growth"]["value"] if told else None,
                "return_126": (prepared.indicators.get(peer) or {"return_126": None})["return_126"],
            }
        )
    return rows


def _holdings(known: dict[str, Any] | None) -> list[dict[str, Any]]:
    listed = figures.weights_of(known["holdings"] if known else None, list)
    return [{name: one.get(name) for name in ("symbol", "name", "weight")} for one in listed if isinstance(one, dict)][
        :HOLDINGS
    ]


def _sector_weights(known: dict[str, Any] | None) -> list[tuple[str, float]]:
    weights = figures.weights_of(known["sector_weights"] if known else None, dict)
    kept = [(str(name), float(weight)) for name, weight in weights.items() if isinstance(weight, int | float)]
    return sorted(kept, key=lambda item: (-item[1], item[0]))


def _tone(sentiment: float) -> str:
    return "good" if sentiment >= CLEAR_TONE else "bad" if sentiment <= -CLEAR_TONE else "neutral"


def _by_id(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["instrument_id"]: row for row in frame.iter_rows(named=True)}
