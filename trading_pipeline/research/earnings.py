"""The earnings calendar: next and last report of each member as known on each session, and how its price reacted.

What belongs here: choosing among what providers say of reports, and measuring reactions to them. What does not: asking
the providers, judging whether to hold through a report.

*The session that trades on a report* is the first one that opens after it: of a report before the open (bmo) or during
the session (dmh) the first session on or after its date, of one after the close (amc) the session after. A report of
unknown timing counts as bmo, so that nobody holds into it by mistake; its reaction is then measured a session early
where it really was amc. Where another provider names the same date and knows the timing, that timing holds.

A report is *next* until a session has traded on it, and on that session still where its result is not known by the
decision moment (`sessions_to_report` is 0 then). It is *last* from then on, and all that is said of past reports is
about those. Nothing is recursive: what holds on a session depends on the versions available by its decision moment and
on the returns of LOOKBACK sessions. It changes only when a version arrives, a session trades on a report, or a report
falls out of the lookback, so states are computed at those events and looked up by the sessions between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Integers, Mask

LOOKBACK = 780
"""Sessions before the judged one whose returns, actions and reports must be passed: 12 quarterly reports span 756."""

AHEAD = 80
"""Sessions ahead that are counted: a quarter and some slack. Of what is further away only the date is told."""

REPORTS = 12
"""Latest reports with a known result that beat rate and mean moves are taken over: three years of quarters."""

SAME_REPORT_DAYS = 30
"""Reports of one name dated at most this far apart are one report that providers date differently."""

LEAST_ESTIMATE = 0.01
"""Expected earnings per share, in units of currency, below which a surprise in per cent means nothing."""

_TIE = 1e-9
_TIMINGS = ("bmo", "dmh", "amc", "unknown")
_AFTER, _UNKNOWN = _TIMINGS.index("amc"), _TIMINGS.index("unknown")

_COLUMNS = {
    "session": pl.Date,
    "instrument_id": pl.String,
    "ticker": pl.String,
    "next_report_date": pl.Date,
    "next_timing": pl.String,
    "sessions_to_report": pl.Int32,
    "eps_estimate": pl.Float64,
    "revenue_estimate": pl.Float64,
    "sources": pl.String,
    "disagreement": pl.String,
    "last_report_date": pl.Date,
    "last_report_session": pl.Date,
    "last_eps_actual": pl.Float64,
    "last_eps_estimate": pl.Float64,
    "last_surprise": pl.Float64,
    "last_reaction": pl.Float64,
    "reports": pl.Int32,
    "beat_rate": pl.Float64,
    "average_move_after_beat": pl.Float64,
    "average_move_after_miss": pl.Float64,
    "average_absolute_move": pl.Float64,
    "next_ex_dividend_date": pl.Date,
    "last_ex_dividend_date": pl.Date,
}


def earnings_calendar(
    reports: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    returns: pl.DataFrame,
    sessions: Sequence[date],
    decided_at: pl.DataFrame,
    priority: Sequence[str],
) -> pl.DataFrame:
    """The columns of the table `earnings_calendar`, by session and instrument: one row a session and member.

    reports: rows of `received_earnings`, every version; dated from LOOKBACK sessions before the first judged one,
        without an end. actions: rows of `corporate_actions` in force, from LOOKBACK sessions before, coming ex-dates
        included. members: [session, instrument_id, ticker] of the judged sessions, in any universe. returns: [session,
        instrument_id, excess_return], fractions, from LOOKBACK sessions before (`market_index.excess_returns`).
    sessions: the judged ones, ascending. decided_at: [session, decided_at], every session of the exchange from LOOKBACK
        before the first judged one to AHEAD after the last, each with its decision moment (zone-aware).
    priority: provider names, the first voice first; providers not named come after them by name.

    Of a report the version in force is the latest by `available_at`, then `known_at`. The next report is the earliest
    that any provider names, dated by the first voice among those who mean the same one (within 30 days): a hole in the
    first voice does not hide a report. Estimates come from the first of them that gives one. A past report is told by
    the first voice that knows its result. A surprise is null where the estimate is below a cent; such a report still
    counts as a beat or a miss. `reports` counts those with both result and estimate. A last ex-dividend date more than
    LOOKBACK sessions ago is null.
    """
    axis = _Axis.of(decided_at, sessions)
    member = members.select("session", "instrument_id", "ticker").unique(["session", "instrument_id"])
    member = member.filter(pl.col("session").is_in(axis.judged.implode())).sort("session", "instrument_id")
    names = member["instrument_id"].unique().sort()
    cells = _cells(member, names, axis)

    versions = _in_force(reports, names, axis, priority)
    states, keys = _states(versions, len(names), axis)
    told = _told(versions, states, keys, returns, names, axis)
    place = np.searchsorted(keys, cells, side="right") - 1
    known = (place >= 0) & (keys[place] // axis.size == cells // axis.size) if len(keys) else np.zeros(len(cells), bool)
    at = pl.Series(np.where(known, place, -1)).replace(-1, None)
    looked_up = told.select(pl.all().gather(at)) if len(keys) else told.clear(len(cells))
    now = pl.Series(cells % axis.size, dtype=pl.Int64)
    reached = pl.col("next_row") < len(axis.days)
    coming, past = _ex_dividends(actions, names, axis, cells)
    return (
        member.hstack(looked_up)
        .with_columns(
            sessions_to_report=pl.when(reached & (pl.col("next_row") - now <= AHEAD)).then(pl.col("next_row") - now),
            last_report_session=axis.sessions_at(pl.col("last_row")),
            reports=pl.col("reports").fill_null(0),
            next_ex_dividend_date=coming,
            last_ex_dividend_date=past,
        )
        .select(pl.col(name).cast(dtype) for name, dtype in _COLUMNS.items())
    )


@dataclass(frozen=True)
class _Axis:
    """Every session in order with its decision moment; which of them are judged. Rows are positions in it."""

    days: pl.Series
    moments: Integers
    judged: pl.Series

    @classmethod
    def of(cls, decided_at: pl.DataFrame, sessions: Sequence[date]) -> _Axis:
        calendar = decided_at.sort("session")
        judged = pl.Series("session", list(sessions), dtype=pl.Date)
        if not judged.is_in(calendar["session"].implode()).all():
            raise ValueError("a judged session has no decision moment; pass one for every session of the calendar")
        if len(judged) and not calendar["session"][0] < judged[0] <= judged[-1] < calendar["session"][-1]:
            raise ValueError(
                "the decision moments end where the judged sessions do; pass those of LOOKBACK sessions before and of "
                "AHEAD sessions after them too: reports are counted in sessions"
            )
        return cls(calendar["session"], _microseconds(calendar["decided_at"]), judged)

    @property
    def size(self) -> int:
        """Positions a row can take, with one beyond the end for what the calendar does not reach."""
        return len(self.days) + 1

    @property
    def first(self) -> int:
        return self.on_or_after(self.judged)[0] if len(self.judged) else 0  # type: ignore[no-any-return]

    @property
    def last(self) -> int:
        return self.on_or_after(self.judged)[-1] if len(self.judged) else -1  # type: ignore[no-any-return]

    def on_or_after(self, days: pl.Series) -> Integers:
        """Row of the first session on or after each day."""
        return np.searchsorted(self.days.to_numpy(), days.to_numpy(), side="left")

    def after(self, days: pl.Series) -> Integers:
        """Row of the first session after each day."""
        return np.searchsorted(self.days.to_numpy(), days.to_numpy(), side="right")

    def known_from(self, moments: pl.Series) -> Integers:
        """Row of the first session whose decision moment is not before each moment."""
        return np.searchsorted(self.moments, _microseconds(moments), side="left")

    def sessions_at(self, rows: pl.Expr) -> pl.Expr:
        return rows.map_batches(self.days.gather, return_dtype=pl.Date)


def _microseconds(moments: pl.Series) -> Integers:
    return moments.dt.cast_time_unit("us").to_physical().cast(pl.Int64).to_numpy()


def _cells(frame: pl.DataFrame, names: pl.Series, axis: _Axis) -> Integers:
    """Code of the instrument x axis size + row of the session."""
    codes = frame["instrument_id"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    return np.asarray(codes * axis.size + axis.on_or_after(frame["session"]))


def _in_force(reports: pl.DataFrame, names: pl.Series, axis: _Axis, priority: Sequence[str]) -> pl.DataFrame:
    """One row a version: code, rank of the provider, the rows from which and up to which it is in force, what it says.

    row_on, row_after: the session that trades on it were it bmo, and were it amc.
    """
    key = ["instrument_id", "provider", "fiscal_period"]
    mine = reports.filter(pl.col("instrument_id").is_in(names.implode())).sort(*key, "available_at", "known_at")
    others = sorted(set(mine["provider"].unique()) - set(priority))
    ranks = {name: rank for rank, name in enumerate(dict.fromkeys([*priority, *others]))}
    timing = pl.when(pl.col("timing").is_in(_TIMINGS)).then("timing").otherwise(pl.lit("unknown"))
    versions = mine.select(
        *key,
        code=pl.col("instrument_id").cast(pl.Enum(names)).to_physical().cast(pl.Int64),
        rank=pl.col("provider").replace_strict(ranks, return_dtype=pl.Int64),
        start=pl.Series(axis.known_from(mine["available_at"]), dtype=pl.Int64),
        row_on=pl.Series(axis.on_or_after(mine["report_date"]), dtype=pl.Int64),
        row_after=pl.Series(axis.after(mine["report_date"]), dtype=pl.Int64),
        timing=timing.cast(pl.Enum(_TIMINGS)).to_physical().cast(pl.Int64),
        date="report_date",
        estimate="eps_estimate",
        actual="eps_actual",
        revenue="revenue_estimate",
        out=pl.col("eps_actual").is_not_null() | pl.col("revenue_actual").is_not_null(),
        withdrawn="withdrawn",
    ).with_columns(end=pl.col("start").shift(-1).over(key).fill_null(axis.size))
    reached = pl.col("date") >= axis.days.min()
    return versions.filter(reached & ~pl.col("withdrawn")).drop("instrument_id", "withdrawn")


def _states(versions: pl.DataFrame, names: int, axis: _Axis) -> tuple[pl.DataFrame, Integers]:
    """[state, version] of every version in force in a state, and the key (code x size + row) at which each begins."""
    code, start, end = (versions[name].to_numpy() for name in ("code", "start", "end"))
    row_on, row_after = versions["row_on"].to_numpy(), versions["row_after"].to_numpy()
    forgotten = row_after + LOOKBACK
    rows = np.concatenate(
        [start, end, row_on, row_on + 1, row_after, row_after + 1, row_on + LOOKBACK, forgotten, [axis.first]]
    )
    codes = np.concatenate([np.tile(code, 8), [0]])
    inside = (rows > axis.first) & (rows <= axis.last)
    everyone = np.arange(names) * axis.size + axis.first
    keys = np.unique(np.concatenate([everyone, codes[inside] * axis.size + rows[inside]]))
    begin = code * axis.size + np.clip(start, axis.first, axis.last + 1)
    stop = code * axis.size + np.clip(np.minimum(end, forgotten), axis.first, axis.last + 1)
    low, high = np.searchsorted(keys, begin), np.searchsorted(keys, stop)
    state, version = _ranges(low, high)
    return pl.DataFrame({"state": state, "version": version}, schema={"state": pl.Int64, "version": pl.Int64}), keys


def _told(
    versions: pl.DataFrame, states: pl.DataFrame, keys: Integers, returns: pl.DataFrame, names: pl.Series, axis: _Axis
) -> pl.DataFrame:
    """One row a state: the columns about reports, `next_row` and `last_row` instead of sessions."""
    facts = versions.select(pl.all().gather(states["version"])).with_columns(
        state=states["state"], now=pl.Series(keys % axis.size, dtype=pl.Int64).gather(states["state"])
    )
    facts = _with_timings(facts.with_columns(said="timing")).with_columns(
        row=pl.when(pl.col("timing") == _AFTER).then("row_after").otherwise("row_on")
    )
    is_next = (pl.col("row") > pl.col("now")) | ((pl.col("row") == pl.col("now")) & ~pl.col("out"))
    coming = _next(facts.filter(is_next))
    in_sight = pl.col("now") - pl.col("row") < LOOKBACK
    past = _past(facts.filter(~is_next & in_sight), returns, names, axis)
    every = pl.DataFrame({"state": np.arange(len(keys))}, schema={"state": pl.Int64})
    for part in (coming, *past):
        every = every.join(part, on="state", how="left", maintain_order="left")
    return every.drop("state")


def _with_timings(facts: pl.DataFrame) -> pl.DataFrame:
    """Unknown timings as the first other voice has them that names the same date."""
    if not (facts["timing"] == _UNKNOWN).any():
        return facts
    same = ["state", "date"]
    known = facts.filter(pl.col("timing") != _UNKNOWN).sort(*same, "rank").unique(same, keep="first")
    told = facts.join(known.select(*same, _told="timing"), on=same, how="left", maintain_order="left")
    timing = pl.when(pl.col("timing") == _UNKNOWN).then(pl.coalesce("_told", "timing")).otherwise("timing")
    return told.with_columns(timing=timing).drop("_told")


def _next(facts: pl.DataFrame) -> pl.DataFrame:
    """The next report of each state: the first voice's among those who mean the earliest one."""
    own = facts.sort("state", "rank", "row", "date", "fiscal_period").unique(["state", "rank"], keep="first")
    earliest = pl.col("date").min().over("state")
    own = own.with_columns(
        pl.col("timing", "said").replace_strict(dict(enumerate(_TIMINGS)), return_dtype=pl.String),
        same=(pl.col("date") - earliest).dt.total_days() <= SAME_REPORT_DAYS,
    ).sort("state", ~pl.col("same"), "rank")
    chosen_date, chosen_timing = pl.col("date").first(), pl.col("timing").first()
    differs = (pl.col("date") != chosen_date) | ((pl.col("said") != "unknown") & (pl.col("said") != chosen_timing))
    words = pl.format("{}: {} {}", "provider", pl.col("date").dt.to_string("%Y-%m-%d"), "said")

    def first_given(name: str) -> pl.Expr:
        return pl.col(name).filter(pl.col("same") & pl.col(name).is_not_null()).first()

    return (
        own.group_by("state", maintain_order=True)
        .agg(
            chosen_date.alias("next_report_date"),
            chosen_timing.alias("next_timing"),
            pl.col("row").first().alias("next_row"),
            first_given("estimate").alias("eps_estimate"),
            first_given("revenue").alias("revenue_estimate"),
            pl.col("provider").sort_by("rank").str.join(",").alias("sources"),
            words.filter(differs).sort_by(pl.col("rank").filter(differs)).str.join("; ").alias("disagreement"),
        )
        .with_columns(disagreement=pl.when(pl.col("disagreement") != "").then("disagreement"))
    )


def _past(
    facts: pl.DataFrame, returns: pl.DataFrame, names: pl.Series, axis: _Axis
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of each state: the last report, and the figures over the last 12 with a known result."""
    facts = facts.sort("state", "date", "rank", "fiscal_period")
    apart = (pl.col("date").diff().dt.total_days() > SAME_REPORT_DAYS) | (pl.col("state").diff() != 0)
    unknown = pl.col("actual").is_null().cast(pl.Int8) * 2 + pl.col("estimate").is_null()
    events = (
        facts.with_columns(event=apart.fill_null(value=True).cum_sum(), unknown=unknown)
        .sort("event", "unknown", "rank", "fiscal_period", maintain_order=True)
        .unique("event", keep="first")
    )
    of_names = returns.filter(pl.col("instrument_id").is_in(names.implode()))
    reaction = of_names.select(
        code=pl.col("instrument_id").cast(pl.Enum(names)).to_physical().cast(pl.Int64),
        row=pl.Series(axis.on_or_after(of_names["session"]), dtype=pl.Int64),
        reaction="excess_return",
    )
    beyond = pl.col("actual") - pl.col("estimate")
    size = pl.col("estimate").abs()
    events = (
        events.join(reaction, on=["code", "row"], how="left", maintain_order="left")
        .with_columns(
            surprise=pl.when(size >= LEAST_ESTIMATE).then(beyond / size),
            beat=beyond > _TIE,
            miss=beyond < -_TIE,
        )
        .sort("state", "row", "date", descending=[False, True, True])
    )
    last = events.unique("state", keep="first").select(
        "state",
        last_report_date="date",
        last_row="row",
        last_eps_actual="actual",
        last_eps_estimate="estimate",
        last_surprise="surprise",
        last_reaction="reaction",
    )
    known = events.filter(pl.col("beat").is_not_null())
    move = pl.col("reaction")
    figures = (
        known.filter(pl.int_range(pl.len()).over("state") < REPORTS)
        .group_by("state")
        .agg(
            pl.len().alias("reports"),
            pl.col("beat").mean().alias("beat_rate"),
            move.filter(pl.col("beat")).mean().alias("average_move_after_beat"),
            move.filter(pl.col("miss")).mean().alias("average_move_after_miss"),
            move.abs().mean().alias("average_absolute_move"),
        )
    )
    return last, figures


def _ex_dividends(actions: pl.DataFrame, names: pl.Series, axis: _Axis, cells: Integers) -> tuple[pl.Series, pl.Series]:
    """Next ex-date announced by each cell's decision moment, and the latest one up to its session."""
    paid = pl.col("kind").is_in(["dividend", "capital_gain"]) & pl.col("instrument_id").is_in(names.implode())
    if "withdrawn" in actions.columns:
        paid &= ~pl.col("withdrawn")
    mine = actions.filter(paid)
    code = mine["instrument_id"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    ex, known = axis.on_or_after(mine["session"]), axis.known_from(mine["available_at"])
    days = mine["session"].to_physical().cast(pl.Int64).to_numpy()
    return _coming(days, code, known, ex, axis, cells), _passed(days, code, known, ex, axis, cells)


def _coming(days: Integers, code: Integers, known: Integers, ex: Integers, axis: _Axis, cells: Integers) -> pl.Series:
    order = np.argsort(cells)
    ordered = cells[order]
    begin, stop = (np.searchsorted(ordered, code * axis.size + row) for row in (known, ex))
    places, of_action = _ranges(begin, stop)
    none = np.iinfo(np.int64).max
    earliest = np.full(len(cells), none)
    np.minimum.at(earliest, order[places], days[of_action])
    return _dates(earliest, earliest < none)


def _passed(days: Integers, code: Integers, known: Integers, ex: Integers, axis: _Axis, cells: Integers) -> pl.Series:
    if not len(days):
        return _dates(np.zeros(len(cells), dtype=np.int64), np.zeros(len(cells), dtype=np.bool_))
    begins = code * axis.size + np.maximum(ex, known)
    order = np.lexsort((ex, begins))
    begins = begins[order]
    # Within one instrument the rows of ex-dates only grow, so the latest so far is a running maximum.
    latest = np.maximum.accumulate((code * axis.size + ex)[order])
    day_of = dict(zip((code * axis.size + ex).tolist(), days.tolist(), strict=True))
    place = np.searchsorted(begins, cells, side="right") - 1
    found = latest[np.maximum(place, 0)]
    good = (place >= 0) & (found // axis.size == cells // axis.size) & (cells - found < LOOKBACK)
    distinct, inverse = np.unique(found, return_inverse=True)
    return _dates(np.array([day_of[key] for key in distinct.tolist()], dtype=np.int64)[inverse], good)


def _ranges(begin: Integers, stop: Integers) -> tuple[Integers, Integers]:
    """Every number of the ranges [begin, stop), one range after the other, and the position of its range."""
    count = np.maximum(stop - begin, 0)
    of_range = np.repeat(np.arange(len(count)), count)
    return np.arange(count.sum()) + np.repeat(begin - np.cumsum(count) + count, count), of_range


def _dates(days: Integers, known: Mask) -> pl.Series:
    return (
        pl.Series(days.astype(np.int32))
        .cast(pl.Date)
        .to_frame("day")
        .select(pl.when(pl.Series(known)).then("day"))
        .to_series()
    )
