"""The daily briefing: one self-contained HTML page that says where the market stands and what is down.

What belongs here: choosing and arranging the numbers of tables already computed. What does not: computing them
(`research/`), storing the page (`assets/`), drawing (`charts.py`), the look (`templates/briefing.css`).

The page needs no network, is readable on a phone, on paper, in the dark and without its one script (which sorts
tables), and says in its title when its world is fictional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports import charts, decisions, wording
from trading_pipeline.reports.inputs import refuse_incomplete
from trading_pipeline.reports.pages import environment
from trading_pipeline.reports.pages import markup as _markup
from trading_pipeline.research.week import MarketWeek
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    BAR_ISSUES,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    MARKET_REGIME,
    SCREENER_SCORES,
)

TOP_DIPS = 20
TOP_LEADERS = 15
TOP_DESK = 20
EXAMPLES = 3
SECTORS_NAMED = 3
STRIP_SESSIONS = 40
CHART_SESSIONS = 252
# Below this many sessions a line of breadth says no more than its last value.
BREADTH_CHART_SESSIONS = 10
WIDE, NARROW = (1000, 280), (340, 210)
WIDE_LOW, NARROW_LOW = (1000, 150), (340, 150)

SEVERITIES = {
    "rejected": "not a possible bar; kept out of the tables",
    "bad": "excluded from everything downstream",
    "suspect": "used, and marked",
}


@dataclass(frozen=True)
class BriefingInputs:
    """Everything a briefing tells, in the columns of `tables.py`.

    session: the session it is about. world: `simulated` or `real`.
    regime: MARKET_REGIME rows of the latest sessions, `session`'s included when it was published.
    dips: DIP_OPPORTUNITIES rows of `session`, in any order.
    benchmark: [session, close, sma_50, sma_200] of the index, ascending, in the price basis of `session`; empty where
        the index has no bars.
    prices: [session, instrument_id, close] of (at least) the deepest dips, adjusted, a year of them.
    issues: BAR_ISSUES rows of `session`, or of its week.
    coverage: [universe, members, with_bar, threshold], one row a universe; `threshold` is the share (fraction) it must
        reach, null where none is asked of it.
    scores, analysis, earnings: SCREENER_SCORES, DIP_ANALYSIS and EARNINGS_CALENDAR rows of `session`, in any order.
    names: [instrument_id, name] of the companies whose name is known. articles: how many were there to read in the week
    to `session`. tearsheets: relative address of a name's tearsheet by instrument id, of those that exist; the index of
    them all under the empty id.
    as_of: the moment whose knowledge the numbers hold; `generated_at`: when the page was made; both zone-aware.
    week: the week's analysis, on its last session. rules: quality rule to its description, for the reader.
    thresholds: configured dips in per cent, ascending.
    """

    market: Market
    session: date
    world: Literal["simulated", "real"]
    regime: pl.DataFrame
    dips: pl.DataFrame
    benchmark: pl.DataFrame
    prices: pl.DataFrame
    issues: pl.DataFrame
    coverage: pl.DataFrame
    provider: str
    as_of: datetime
    generated_at: datetime
    thresholds: tuple[float, ...]
    scores: pl.DataFrame
    analysis: pl.DataFrame
    earnings: pl.DataFrame
    names: pl.DataFrame
    articles: int
    tearsheets: Mapping[str, str] = field(default_factory=dict)
    week: MarketWeek | None = None
    rules: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = (
            ("regime", self.regime, MARKET_REGIME.names),
            ("dips", self.dips, DIP_OPPORTUNITIES.names),
            ("issues", self.issues, BAR_ISSUES.names),
            ("benchmark", self.benchmark, ["session", "close", "sma_50", "sma_200"]),
            ("prices", self.prices, ["session", "instrument_id", "close"]),
            ("coverage", self.coverage, ["universe", "members", "with_bar", "threshold"]),
            ("scores", self.scores, SCREENER_SCORES.names),
            ("analysis", self.analysis, DIP_ANALYSIS.names),
            ("earnings", self.earnings, EARNINGS_CALENDAR.names),
            ("names", self.names, ["instrument_id", "name"]),
        )
        refuse_incomplete("briefing", frames, {"as_of": self.as_of, "generated_at": self.generated_at})

    @property
    def simulated(self) -> bool:
        """Whether every ticker on the page is fictional."""
        return self.world == "simulated"

    @property
    def today(self) -> dict[str, Any] | None:
        """The regime of the session; None where none was published."""
        rows = self.regime.filter(pl.col("session") == self.session)
        return rows.row(0, named=True) if rows.height else None

    @property
    def deepest_first(self) -> pl.DataFrame:
        """The session's dips, deepest first, their parts as `contributions`."""
        return contributions(self.dips).sort(["dip_pct", "instrument_id"], descending=[True, False])

    @property
    def leaders(self) -> pl.DataFrame:
        """The session's scores with `rank`, the best first."""
        return decisions.ranked(self.scores)

    @property
    def desk(self) -> pl.DataFrame:
        """The dips on the desk with their words, what can be bought first."""
        return decisions.desk(self.dips, self.analysis)

    @property
    def benchmark_name(self) -> str:
        """The index as the regime names it."""
        today = self.today
        return index_name(today["benchmark"]) if today else "benchmark of the market"


def render(inputs: BriefingInputs) -> str:
    """The briefing as one HTML page (UTF-8 text, under about 500 KB) that needs nothing else to be read."""
    return environment().get_template("briefing.html.j2").render(_view(inputs))


def index_name(benchmark: str) -> str:
    """The benchmark for reading: its ticker, or what stands in for it."""
    return "the equal-weighted mean of the members" if benchmark == "equal_weight" else benchmark


def regime_sentence(regime: Mapping[str, Any]) -> str:
    """Where the market stands, in one sentence; what is not known is left out."""
    index = index_name(regime["benchmark"])
    parts = []
    if regime["index_vs_sma_200"] is not None:
        parts.append(f"{index} is {_above_or_below(regime['index_vs_sma_200'])} its 200-session average")
    if regime["breadth_200"] is not None:
        parts.append(f"{wording.percent(regime['breadth_200'], 0)} of {regime['members']:,} members are above theirs")
    if regime["volatility"] is not None:
        parts.append(f"{regime['volatility_source']} volatility stands at {wording.percent(regime['volatility'])}")
    if not parts:
        return "Too little history to say more."
    sentence = f"{', '.join(parts[:-1])} and {parts[-1]}." if len(parts) > 1 else f"{parts[0]}."
    return sentence if sentence.startswith(regime["benchmark"]) else sentence[0].upper() + sentence[1:]


def streak_sentence(regime: pl.DataFrame, session: date) -> str:
    """How long the environment of `session` has lasted, as far as `regime` reaches back."""
    history = regime.filter(pl.col("session") <= session).sort("session")
    environments = history["environment"].to_list()
    lasted = next((n for n, other in enumerate(reversed(environments)) if other != environments[-1]), None)
    if lasted is None:
        return f"Environment {environments[-1]} in all {len(environments)} sessions shown." if len(history) > 1 else ""
    since = history["session"][-lasted]
    before = environments[-lasted - 1]
    if lasted == 1:
        return f"Changed today from environment {before}."
    return f"Environment {environments[-1]} for {lasted} sessions, since {wording.short_day(since)}; {before} before."


def threshold_counts(inputs: BriefingInputs) -> list[tuple[float, int]]:
    """How many dips have passed each configured threshold, ascending."""
    return [(threshold, inputs.dips.filter(pl.col("dip_pct") >= threshold).height) for threshold in inputs.thresholds]


def contributions(dips: pl.DataFrame) -> pl.DataFrame:
    """The market, sector and company parts as fractions that add up to the total return since the high's close.

    The table holds them as log returns, which a reader takes for returns: -1.66 would read as a loss of 166 %. Each is
    scaled by (exp(fall) - 1) / fall, the logarithmic linking of D. R. Cariño, Combining Attribution Effects Over Time
    (Journal of Performance Measurement, 1999).
    """
    fall = pl.col("fall")
    scale = pl.when(fall.abs() < 1e-9).then(1.0).otherwise((fall.exp() - 1) / fall)
    return dips.with_columns(pl.col([f"{name}_part" for name in charts.PART_COLOURS]) * scale)


def issue_counts(issues: pl.DataFrame) -> pl.DataFrame:
    """[severity, rule, issues, instruments], the gravest severity and the most frequent rule first."""
    return (
        issues.group_by("severity", "rule")
        .agg(pl.len().alias("issues"), pl.col("instrument_id").n_unique().alias("instruments"))
        .with_columns(
            order=pl.col("severity").replace_strict({name: n for n, name in enumerate(SEVERITIES)}, default=99)
        )
        .sort(["order", "issues", "rule"], descending=[False, True, False])
        .drop("order")
    )


def _above_or_below(fraction: float) -> str:
    return f"{wording.percent(abs(fraction))} {'above' if fraction >= 0 else 'below'}"


def _view(inputs: BriefingInputs) -> dict[str, Any]:
    timezone = calendar(inputs.market.exchange).timezone
    today = inputs.today
    return {
        "inputs": inputs,
        "today": today,
        "sentence": regime_sentence(today) if today else "",
        "streak": streak_sentence(inputs.regime, inputs.session) if today else "",
        "reasons": [line for line in today["reasons"].splitlines() if line.strip()] if today else [],
        "strip": _strip(inputs),
        "index": _index(inputs),
        "breadth": _breadth(inputs),
        "leaderboard": _leaderboard(inputs),
        "desk": _desk(inputs),
        "reports": _reports(inputs),
        "dips": _dips(inputs),
        "week": _week(inputs.week),
        "quarantine": _quarantine(inputs),
        "coverage": _coverage(inputs.coverage),
        "as_of": wording.moment(inputs.as_of, timezone),
        "generated_at": wording.moment(inputs.generated_at, timezone),
    }


def _strip(inputs: BriefingInputs) -> list[dict[str, Any]]:
    history = inputs.regime.filter(pl.col("session") <= inputs.session).sort("session").tail(STRIP_SESSIONS)
    return history.select("session", "environment", "regime").to_dicts() if history.height > 1 else []


def _index(inputs: BriefingInputs) -> dict[str, Any] | None:
    history = inputs.benchmark.filter(pl.col("session") <= inputs.session).sort("session").tail(CHART_SESSIONS)
    closes = history.drop_nulls("close")
    if closes.height < 2:
        return None
    last = closes.row(-1, named=True)
    return {
        "name": inputs.benchmark_name,
        "wide": _markup(charts.index_chart(history, WIDE)),
        "narrow": _markup(charts.index_chart(history, NARROW)),
        "first": closes["session"][0],
        "last": last,
        "change": last["close"] / closes["close"][0] - 1,
        "sessions": closes.height,
    }


def _breadth(inputs: BriefingInputs) -> dict[str, Any] | None:
    history = inputs.regime.filter(pl.col("session") <= inputs.session).sort("session").tail(CHART_SESSIONS)
    known = history.drop_nulls(["breadth_50", "breadth_200"])
    if known.height < BREADTH_CHART_SESSIONS:
        return None
    return {
        "wide": _markup(charts.breadth_chart(known, WIDE_LOW)),
        "narrow": _markup(charts.breadth_chart(known, NARROW_LOW)),
        "first": known.row(0, named=True),
        "last": known.row(-1, named=True),
        "sessions": known.height,
    }


def _leaderboard(inputs: BriefingInputs) -> dict[str, Any]:
    ordered = inputs.leaders
    stocks = ordered.filter(pl.col("asset_type") == "stock")
    verdicts = dict(ordered["verdict"].value_counts().iter_rows()) if ordered.height else {}
    top = ordered.head(TOP_LEADERS).join(inputs.names, on="instrument_id", how="left", maintain_order="left")
    reports = inputs.earnings.select("instrument_id", "next_report_date", "next_timing", "sessions_to_report")
    top = top.join(reports, on="instrument_id", how="left", maintain_order="left")
    return {
        "total": ordered.height,
        "top": top.to_dicts(),
        "verdicts": [(name, verdicts[name]) for name in decisions.VERDICTS if name in verdicts],
        "without_figures": stocks.height > 0 and stocks["fundamental"].is_null().all(),
    }


def _desk(inputs: BriefingInputs) -> dict[str, Any]:
    ordered = inputs.desk.join(inputs.names, on="instrument_id", how="left", maintain_order="left")
    actions = dict(ordered["action"].drop_nulls().value_counts().iter_rows()) if ordered.height else {}
    return {
        "total": ordered.height,
        "top": ordered.head(TOP_DESK).to_dicts(),
        "rest": ordered.slice(TOP_DESK).to_dicts(),
        "actions": [(name, actions[name]) for name in decisions.ACTIONS if name in actions],
        "told": inputs.dips.is_empty() or not inputs.dips["on_desk"].is_null().all(),
        "by_claude": ordered.filter(pl.col("source") == "claude").height,
    }


def _reports(inputs: BriefingInputs) -> dict[str, Any]:
    """Reports ahead of the names that are on the page."""
    named = {
        *inputs.leaders.head(TOP_LEADERS)["instrument_id"],
        *inputs.desk["instrument_id"],
        *inputs.deepest_first.head(TOP_DIPS)["instrument_id"],
    }
    verdicts = inputs.scores.select("instrument_id", "verdict", "grade")
    ahead = decisions.reports_ahead(inputs.earnings, inputs.session, named)
    return {
        "calendar": inputs.earnings["next_report_date"].is_not_null().any(),
        "rows": ahead.join(verdicts, on="instrument_id", how="left", maintain_order="left").to_dicts(),
        "named": len(named),
    }


def _dips(inputs: BriefingInputs) -> dict[str, Any]:
    ordered = inputs.deepest_first
    split = ordered.drop_nulls(["market_part", "sector_part", "company_part"])
    heaviest = pl.concat_list("market_part", "sector_part", "company_part").list.arg_min().alias("cause")
    causes = split.select(heaviest).group_by("cause").len("found").sort(["found", "cause"], descending=[True, False])
    names = list(charts.PART_COLOURS)
    sectors = (
        ordered["sector"].drop_nulls().value_counts().sort(["count", "sector"], descending=[True, False])
        if ordered.height
        else None
    )
    return {
        "total": ordered.height,
        "counts": threshold_counts(inputs),
        "top": list(_top(inputs, ordered.head(TOP_DIPS))),
        "rest": ordered.slice(TOP_DIPS).to_dicts(),
        "causes": {names[cause]: found for cause, found in causes.iter_rows()},
        "split": split.height,
        "sectors": sectors.head(SECTORS_NAMED).rows() if sectors is not None else [],
    }


def _top(inputs: BriefingInputs, top: pl.DataFrame) -> Iterator[dict[str, Any]]:
    parts = top.select([f"{name}_part" for name in charts.PART_COLOURS]).fill_null(0.0).to_numpy()
    span = (
        float(np.minimum(parts, 0).sum(axis=1).min(initial=0)),
        float(np.maximum(parts, 0).sum(axis=1).max(initial=0)),
    )
    prices = inputs.prices.filter(pl.col("session") <= inputs.session).drop_nulls("close").sort("session")
    axis = sorted({*prices["session"].to_list(), *inputs.benchmark["session"].to_list()})
    axis = [session for session in axis if session <= inputs.session]
    histories = {
        str(key[0]): history.tail(CHART_SESSIONS)
        for key, history in prices.partition_by("instrument_id", as_dict=True).items()
    }
    for row in top.iter_rows(named=True):
        history = histories.get(row["instrument_id"])
        back = row["sessions_since_high"]
        high = axis[-1 - back] if back < len(axis) and axis[-1] == inputs.session else None
        spark = (
            _markup(charts.sparkline(history["session"].to_list(), history["close"].to_list(), high))
            if history is not None and history.height > 1
            else None
        )
        values = {name: row[f"{name}_part"] for name in charts.PART_COLOURS}
        bar = (
            _markup(charts.stacked_bar(values, span, charts.PART_COLOURS))
            if None not in values.values() and span != (0.0, 0.0)
            else None
        )
        yield {
            **row,
            "high_session": high,
            "spark": spark,
            "bar": bar,
            "fall_is_split": None not in values.values(),
        }


def _week(week: MarketWeek | None) -> dict[str, Any] | None:
    if week is None:
        return None
    reach = max((abs(value) for value in week.sectors["week_return"].to_list()), default=0.0)
    sectors = [
        {
            **row,
            "bar": _markup(
                charts.stacked_bar(
                    {"gain" if row["week_return"] >= 0 else "loss": row["week_return"]},
                    (-reach, reach),
                    charts.SIGN_COLOURS,
                )
            )
            if reach
            else None,
        }
        for row in week.sectors.iter_rows(named=True)
    ]
    return {
        "week": week,
        "benchmark": index_name(week.benchmark),
        "sectors": sectors,
        "gainers": week.gainers.to_dicts(),
        "losers": week.losers.to_dicts(),
        "new_dips": week.new_dips.to_dicts(),
        "deeper_dips": week.deeper_dips.to_dicts(),
    }


def _quarantine(inputs: BriefingInputs) -> dict[str, Any]:
    issues = inputs.issues
    by_rule = [
        {
            **row,
            "description": inputs.rules.get(row["rule"], ""),
            "examples": issues.filter((pl.col("rule") == row["rule"]) & (pl.col("severity") == row["severity"]))
            .sort(["session", "ticker"], descending=[True, False])
            .head(EXAMPLES)
            .select("ticker", "bar_session", "detail")
            .to_dicts(),
        }
        for row in issue_counts(issues).iter_rows(named=True)
    ]
    severities = dict(issues["severity"].value_counts().iter_rows()) if issues.height else {}
    sessions = issues["session"].unique().sort().to_list()
    return {
        "total": issues.height,
        "rules": by_rule,
        "severities": [(name, severities[name], what) for name, what in SEVERITIES.items() if name in severities],
        "first": sessions[0] if sessions else None,
        "last": sessions[-1] if sessions else None,
    }


def _coverage(coverage: pl.DataFrame) -> list[dict[str, Any]]:
    share = pl.when(pl.col("members") > 0).then(pl.col("with_bar") / pl.col("members")).alias("share")
    return coverage.sort("universe").with_columns(share).to_dicts()


__all__ = [
    "BriefingInputs",
    "contributions",
    "index_name",
    "issue_counts",
    "regime_sentence",
    "render",
    "streak_sentence",
    "threshold_counts",
]
