"""Receiving: what to ask a provider for, what its answer adds to what is stored, and since when it could be known.

What belongs here: the step from a provider's answer to rows of `received_bars` and `received_actions`, the one place
that sets the two clocks of a received fact. What does not: HTTP (`providers/`), the arithmetic of splits and versions
(`research/bars`), choosing among providers and judging bars (the assets).

The clocks. `known_at` is the moment of the fetch. `available_at` of a bar is its session's close plus the market's lag,
and of an action the open of its ex-date, where this is the first time we could have been told. It is `known_at` for
what came later than that: a revision, a bar or an action that appears inside the sessions already received, a
withdrawal, and a forming (provisional) bar. The final bar after a provisional one is nobody's revision: it is available
at the close plus the lag.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from trading_pipeline.errors import UnknownSession
from trading_pipeline.markets import Market, market_named
from trading_pipeline.research.bars.as_traded import SPLIT, undo_splits
from trading_pipeline.research.bars.versions import BREAKS_SCHEMA, TOLERANCE, Changes, changes, suspected_breaks
from trading_pipeline.sessions import ExchangeCalendar, calendar
from trading_pipeline.tables import MOMENT, RECEIVED_ACTIONS, RECEIVED_BARS

if TYPE_CHECKING:
    from trading_pipeline.providers.base import BarProvider, UniverseProvider
    from trading_pipeline.storage.lake import Lake
    from trading_pipeline.world import World

    class ClosedProvider(BarProvider, UniverseProvider, Protocol):
        """A provider that knows all it holds, such as a folder of files."""


OVERLAP = 10
"""Sessions before the first missing one that are asked for again, to see what the provider changed."""

TOUCHED_SCHEMA = pl.Schema({"instrument_id": pl.String, "session": pl.Date, "change": pl.String})

_BARS, _ACTIONS = RECEIVED_BARS.name, RECEIVED_ACTIONS.name
_BAR_KEY, _ACTION_KEY = list(RECEIVED_BARS.key), list(RECEIVED_ACTIONS.key)
# Yahoo gives amounts to six decimals, after dividing them by later splits.
_AMOUNT_ROUNDING = 0.5e-6
_MOST_TAKEN_BACK = 2


@dataclass
class IngestReport:
    """What one call of `receive` asked, got and stored.

    wanted: symbols handed in; asked: those the provider was asked for; answered: those it gave bars of; calls_avoided:
    those not asked because nothing of theirs was missing. failures: (symbol, class of failure, message).
    refetched: instruments whose full history was asked again. late: new bars inside the sessions already received.
    withdrawals_doubted: stored actions missing from an answer that tells none of their kind; they stay.
    off_calendar: rows received for days that are no sessions, not stored; actions are moved to the next session
    instead (moved_actions). duplicates, refused_actions: rows received and not stored, the latter with the reason.
    basis_breaks: columns as in `research.bars.versions.Changes`. touched: [instrument_id, session, change] of stored
    sessions about which something changed after they were first received; change is revised, settled, late or action.
    """

    market: str
    provider: str
    first: date
    last: date
    now: datetime
    wanted: int = 0
    asked: int = 0
    answered: int = 0
    calls_avoided: int = 0
    http_calls: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    refetched: list[str] = field(default_factory=list)
    new: int = 0
    late: int = 0
    revised: int = 0
    settled: int = 0
    unchanged: int = 0
    actions_new: int = 0
    actions_revised: int = 0
    actions_withdrawn: int = 0
    withdrawals_doubted: int = 0
    moved_actions: int = 0
    off_calendar: int = 0
    duplicates: pl.DataFrame = field(default_factory=pl.DataFrame)
    refused_actions: pl.DataFrame = field(default_factory=pl.DataFrame)
    basis_breaks: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BREAKS_SCHEMA))
    touched: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TOUCHED_SCHEMA))
    seconds: float = 0.0

    @property
    def coverage(self) -> float:
        """Share of the symbols wanted that answered or were not missing anything; 1 where none was wanted."""
        return (self.answered + self.calls_avoided) / self.wanted if self.wanted else 1.0

    @property
    def rows(self) -> int:
        """Bars stored."""
        return self.new + self.revised + self.settled

    @property
    def failed(self) -> dict[str, int]:
        """How many symbols failed, by class of failure."""
        return dict(sorted(Counter(kind for _, kind, _ in self.failures).items()))

    def metadata(self) -> dict[str, Any]:
        """Plain values for a run's metadata; lists are cut to their first twenty."""
        return {
            "provider": self.provider,
            "sessions": f"{self.first} to {self.last}",
            "tickers_wanted": self.wanted,
            "tickers_asked": self.asked,
            "tickers_answered": self.answered,
            "coverage": round(self.coverage, 4),
            "failed": self.failed,
            "failures": [f"{symbol}: {message}" for symbol, _, message in self.failures[:20]],
            "http_calls": self.http_calls,
            "calls_avoided": self.calls_avoided,
            "full_histories_again": self.refetched[:20],
            "rows": self.rows,
            "rows_new": self.new,
            "rows_late": self.late,
            "rows_settled": self.settled,
            "rows_unchanged": self.unchanged,
            "revisions": self.revised,
            "actions_new": self.actions_new,
            "actions_revised": self.actions_revised,
            "actions_withdrawn": self.actions_withdrawn,
            "withdrawals_doubted": self.withdrawals_doubted,
            "actions_moved_to_a_session": self.moved_actions,
            "actions_refused": [
                f"{row['symbol']} {row['session']} {row['kind']} {row['value']}: {row['reason']}"
                for row in self.refused_actions.head(20).iter_rows(named=True)
            ],
            "rows_duplicate": self.duplicates.height,
            "duplicates": [
                f"{row['symbol']} {row['session']}" for row in self.duplicates.head(20).iter_rows(named=True)
            ],
            "rows_off_calendar": self.off_calendar,
            "basis_breaks": [
                f"{row['instrument_id']} x{row['factor']:.6g} up to {row['last_session']} ({row['cause']})"
                for row in self.basis_breaks.head(20).iter_rows(named=True)
            ],
            "touched_sessions": self.touched["session"].n_unique(),
            "seconds": round(self.seconds, 2),
        }


def merged(reports: Sequence[IngestReport]) -> IngestReport:
    """Several providers' reports of one market and span as one: counts and lists added up, the first one's name."""
    first, *others = reports
    total = replace(first)
    for report in others:
        for each in fields(IngestReport):
            mine, more = getattr(total, each.name), getattr(report, each.name)
            if isinstance(mine, pl.DataFrame):
                setattr(total, each.name, pl.concat([mine, more], how="diagonal"))
            elif isinstance(mine, list | int | float):
                setattr(total, each.name, mine + more)
    return total


def receive(
    provider: BarProvider,
    market: Market,
    wanted: Mapping[str, str],
    lake: Lake,
    *,
    now: datetime,
    first: date,
    last: date | None = None,
    everything: bool = False,
    rebase: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Ask `provider` for what is missing and store what its answer adds; safe to repeat and to run concurrently.

    wanted: instrument id by symbol in the provider's spelling. now: zone-aware; the moment of the fetch. first, last:
    sessions wanted, both included; last defaults to the latest one that is final by `now` and that the provider tells
    of. everything: ask from `first` even where nothing is missing (a file that was replaced). rebase: instruments whose
    reported basis break was looked into and is to be stored as revisions.

    Asked for is each instrument's first missing session less `OVERLAP`, up to now (splits can only be undone when all
    later ones are told), and nothing where its bar of `last` is final. The full history is asked again where the
    overlap suspects a basis break, or where a provider that adjusts for splits reports a new one. Actions are stored
    before bars: a run that dies between finds bars missing and asks again, and an instrument without its actions would
    look complete. A bar without a currency is in the market's.

    Failures of symbols are in the report, not raised; a failing lake or lock raises.
    """
    started = time.monotonic()
    if now.tzinfo is None:
        raise ValueError(f"naive moment {now!r}: pass a zone-aware datetime")
    now = now.astimezone(UTC)
    exchange = calendar(market.exchange)
    first = exchange.require(first)
    last = latest_wanted(provider, market, now) if last is None else exchange.require(last)
    if last > exchange.local_date(now):
        raise UnknownSession(
            f"{last} is in the future of {market.exchange}", f"The latest session is {exchange.latest_closed(now)}"
        )
    report = IngestReport(market.name, provider.name, first, last, now, wanted=len(wanted))

    plan = _plan(exchange, wanted, _stored_spans(lake, market, provider.name), first, last, everything=everything)
    asked = plan.filter(pl.col("begin").is_not_null())
    report.asked, report.calls_avoided = asked.height, plan.height - asked.height
    receipt = _Receipt(provider, market, report, progress)
    receipt.fetch(asked)
    again = asked.with_columns(pl.min_horizontal("first", pl.lit(first)).alias("origin"))
    again = again.filter(pl.col("begin") > pl.col("origin")).with_columns(pl.col("origin").alias("begin"))
    if not again.is_empty():
        suspects, split = _changed_histories(receipt, lake, again)
        again = again.filter(pl.col("instrument_id").is_in([*suspects, *split]))
        report.refetched = again["instrument_id"].unique().sort().to_list()
        receipt.fetch(again)
        # A suspicion that could not be looked into must not end as revisions: those are asked again by the next run.
        receipt.forget(again.filter(pl.col("instrument_id").is_in(suspects))["symbol"])
    with lake.lock(market.name, _BARS), lake.lock(market.name, _ACTIONS):
        _store(receipt, lake, plan, rebase)
    report.seconds = time.monotonic() - started
    return report


def receive_all(world: World, provider: ClosedProvider, market: Market) -> IngestReport:
    """Receive everything a provider with universes of its own holds for `market`, whatever is stored already.

    Its members, and of the market's benchmark and macro series those it has.
    """
    now = world.now()
    exchange = calendar(market.exchange)
    last = latest_wanted(provider, market, now)
    sessions = exchange.between(exchange.first_session, last)
    symbols = sorted(
        {
            symbol
            for key in provider.universe_keys(market)
            for symbol in provider.members(market, key, sessions)["ticker"].unique()
        }
        | {ticker for _, ticker in market.macro if provider.covers(ticker)}
    )
    wanted = dict(zip(symbols, world.instruments(market).ids_of(symbols, exchange.local_date(now)), strict=True))
    return receive(
        provider, market, wanted, world.lake, now=now, first=exchange.first_session, last=last, everything=True
    )


def latest_wanted(provider: BarProvider, market: Market, now: datetime) -> date:
    """The last session whose bar is final by `now` and that the provider can tell of."""
    closed = calendar(market.exchange).latest_closed(now, market.data_lag)
    told = provider.latest_session(market, now)
    return closed if told is None else calendar(market.exchange).on_or_before(min(closed, told))


def revised_sessions(lake: Lake, market: str, since: datetime) -> tuple[list[date], datetime | None]:
    """Sessions about which something changed after they were first received, by versions received after `since`.

    Those are revised, settled and late bars, and revised, withdrawn and late actions. Also the newest `known_at` of all
    that was received after `since`, None where nothing was.
    """
    exchange = calendar(market_named(market).exchange)
    lag = market_named(market).data_lag
    touched: set[date] = set()
    newest: datetime | None = None
    after = pl.col("known_at") > pl.lit(since.astimezone(UTC), MOMENT)
    for table, key in ((_BARS, _BAR_KEY), (_ACTIONS, _ACTION_KEY)):
        rows = lake.scan(market, table).select(*key, "available_at", "known_at")
        fresh = rows.filter(after).collect()
        if fresh.is_empty():
            continue
        moments = [moment for moment in (newest, fresh["known_at"].max()) if isinstance(moment, datetime)]
        newest = max(moments)
        span = fresh.select(pl.col("session").min().alias("low"), pl.col("session").max().alias("high"))
        versions = rows.filter(pl.col("session").is_between(span["low"][0], span["high"][0])).collect()
        begun = versions.group_by(key).agg(pl.col("known_at").min().alias("begun"))
        due = _moments(exchange, fresh["session"], lag if table == _BARS else None)
        changed = (
            fresh.join(begun, on=key)
            .join(due, on="session")
            .filter((pl.col("known_at") > pl.col("begun")) | (pl.col("available_at") > pl.col("due")))
        )
        touched.update(changed["session"].unique())
    return sorted(touched), newest


class _Receipt:
    """What the provider answered so far, as traded, with ids: a later answer about a symbol replaces the first."""

    def __init__(
        self,
        provider: BarProvider,
        market: Market,
        report: IngestReport,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.provider, self.market = provider, market
        self.exchange, self.now = calendar(market.exchange), report.now
        self.report, self.progress = report, progress
        self.split_adjusted = True
        self.bars = pl.DataFrame(schema=_without_clocks(RECEIVED_BARS.schema))
        self.actions = pl.DataFrame(schema=_without_clocks(RECEIVED_ACTIONS.schema))
        self.windows = pl.DataFrame(schema={"instrument_id": pl.String, "symbol": pl.String, "begin": pl.Date})
        self.asked = self.windows
        self.due = pl.DataFrame(schema={"session": pl.Date, "due": MOMENT})

    def fetch(self, asked: pl.DataFrame) -> None:
        """Ask for every [symbol, instrument_id, begin] up to now and keep the answer."""
        from trading_pipeline.providers.base import SymbolRequest

        if asked.is_empty():
            return
        self.asked = pl.concat([self.asked, asked.select(self.asked.columns)])
        until = self.exchange.local_date(self.now)
        requests = [
            SymbolRequest(symbol, begin, until) for symbol, begin in asked.select("symbol", "begin").iter_rows()
        ]
        batch = self.provider.daily_bars(requests, now=self.now, progress=self.progress)
        self.split_adjusted = batch.basis == "split_adjusted"
        report = self.report
        report.http_calls += batch.http_calls
        report.failures += [(failure.symbol, failure.error.kind, str(failure.error)) for failure in batch.failures]

        traded, actions, refused = undo_splits(batch.bars, batch.actions, batch.basis)
        ids = asked.select("symbol", "instrument_id")
        bars = self._bars(traded, ids)
        answered = ids.join(bars.select("symbol").unique(), on="symbol", how="semi")
        # A symbol that fails the second time leaves its first answer standing.
        told = pl.concat([answered, ids.join(actions.select("symbol").unique(), on="symbol", how="semi")]).unique()
        self.windows = pl.concat(
            [
                self.windows.join(answered, on="symbol", how="anti"),
                asked.join(answered, on="symbol", how="semi").select("instrument_id", "symbol", "begin"),
            ]
        )
        self.bars = pl.concat([self.bars.join(answered, on="symbol", how="anti"), bars])
        self.actions = pl.concat(
            [
                self.actions.join(told, on="symbol", how="anti"),
                self._actions(actions.join(ids, on="symbol", maintain_order="left"), refused),
            ]
        )
        report.answered = self.windows.height
        report.duplicates = _stacked(report.duplicates, batch.duplicates).unique(maintain_order=True)

    def forget(self, suspects: pl.Series) -> None:
        """Drop the answers of those symbols that did not answer when their full history was asked."""
        failed = {symbol for symbol, _, _ in self.report.failures}
        dropped = pl.col("symbol").is_in([symbol for symbol in suspects if symbol in failed])
        self.bars, self.actions, self.windows = (
            frame.filter(~dropped) for frame in (self.bars, self.actions, self.windows)
        )
        self.report.answered = self.windows.height

    def _bars(self, traded: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
        """Rows of `received_bars` without clocks, one an instrument and session; the others are counted."""
        traded = traded.join(ids, on="symbol", maintain_order="left")
        days = traded["session"].unique()
        closed = days.filter(~days.is_in(pl.Series(self.exchange.sessions).cast(pl.Date).implode()))
        if len(closed):
            strange = pl.col("session").is_in(closed.implode())
            self.report.off_calendar += traded.select(strange.sum()).item()
            traded = traded.filter(~strange)
        if ids.select(pl.col("instrument_id").is_duplicated().any()).item():
            once = pl.struct("instrument_id", "session").is_first_distinct()
            self.report.duplicates = _stacked(self.report.duplicates, traded.filter(~once))
            traded = traded.filter(once)
        due = _moments(self.exchange, traded["session"], self.market.data_lag)
        self.due = pl.concat([self.due, due]).unique()
        return (
            traded.join(due, on="session", maintain_order="left")
            .with_columns(
                pl.col("currency").fill_null(self.market.currency),
                (pl.lit(self.now, MOMENT) < pl.col("due")).alias("provisional"),
                provider=pl.lit(self.provider.name),
            )
            .select(self.bars.columns)
        )

    def _actions(self, actions: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
        """Rows of `received_actions` without clocks; an ex-date on a closed day is the next session's."""
        sessions = self.exchange.sessions
        days = actions["session"].to_numpy().astype("datetime64[D]")
        at = np.searchsorted(sessions, days)
        inside = at < len(sessions)
        moved = actions.filter(pl.Series(inside)).with_columns(
            pl.Series("session", sessions[at[inside]].astype("datetime64[D]"), dtype=pl.Date)
        )
        self.report.moved_actions += int((sessions[at[inside]] != days[inside]).sum())
        self.report.off_calendar += int((~inside).sum())
        once = pl.struct("instrument_id", "session", "kind").is_first_distinct()
        twice = moved.filter(~once).select(
            *refused.columns[:-1], pl.lit("a second value for the same ex-date").alias("reason")
        )
        self.report.refused_actions = _stacked(_stacked(self.report.refused_actions, refused), twice).unique(
            maintain_order=True
        )
        return (
            moved.filter(once)
            .with_columns(
                pl.col("currency").fill_null(self.market.currency),
                provider=pl.lit(self.provider.name),
                withdrawn=pl.lit(False),
            )
            .select(self.actions.columns)
        )


def _without_clocks(schema: pl.Schema) -> dict[str, Any]:
    return {name: dtype for name, dtype in schema.items() if name not in ("available_at", "known_at")}


def _stacked(above: pl.DataFrame, below: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame for frame in (above, below) if frame.width], how="diagonal")


def _moments(exchange: ExchangeCalendar, sessions: pl.Series, after_close: timedelta | None) -> pl.DataFrame:
    """[session, due] of each distinct session: its close plus `after_close`, or its open where that is None."""
    distinct = sessions.unique().sort()
    if after_close is None:
        due = [exchange.open_at(session) for session in distinct]
    else:
        due = [exchange.close_at(session) + after_close for session in distinct]
    return pl.DataFrame({"session": distinct, "due": pl.Series(due, dtype=MOMENT)})


def _stored_spans(lake: Lake, market: Market, provider: str) -> pl.DataFrame:
    """[instrument_id, first, last, final, asked_from] of what is stored from the provider, in one scan.

    final: the last session with a final bar that has a close. asked_from: the earliest session that came to anybody
    whose history begins with the same receipt; one call asks all of them from the same session, so a name that was
    listed later is not asked for its non-existent past again and again.
    """
    session = pl.col("session")
    return (
        lake.scan(market.name, _BARS)
        .filter(pl.col("provider") == provider)
        .group_by("instrument_id")
        .agg(
            session.min().alias("first"),
            session.max().alias("last"),
            session.filter(~pl.col("provisional") & pl.col("close").is_not_null()).max().alias("final"),
            pl.col("known_at").filter(session == session.min()).min().alias("begun"),
        )
        .with_columns(pl.col("first").min().over("begun").alias("asked_from"))
        .drop("begun")
        .collect()
    )


def _plan(
    exchange: ExchangeCalendar,
    wanted: Mapping[str, str],
    spans: pl.DataFrame,
    first: date,
    last: date,
    *,
    everything: bool,
) -> pl.DataFrame:
    """[symbol, instrument_id, first, last, final, asked_from, begin]; begin null: nothing of it is missing."""
    plan = pl.DataFrame(
        {"symbol": list(wanted), "instrument_id": list(wanted.values())},
        schema={"symbol": pl.String, "instrument_id": pl.String},
    ).join(spans, on="instrument_id", how="left", maintain_order="left")
    sessions = exchange.sessions
    # Where nothing final is stored the overlap starts at what there is.
    held = plan.select(pl.coalesce("final", "first", pl.lit(first)).alias("held"))["held"]
    at = np.searchsorted(sessions, held.to_numpy().astype("datetime64[D]")) + 1 - OVERLAP
    overlap = pl.Series(sessions[np.clip(at, 0, len(sessions) - 1)], dtype=pl.Date)
    never = pl.col("first").is_null()
    further_back = (pl.col("first") > first) & (pl.col("asked_from") > first)
    complete = pl.col("final") >= last
    return plan.with_columns(
        pl.when(never | further_back | everything)
        .then(pl.lit(first))
        .when(complete.fill_null(False))
        .then(None)
        .otherwise(pl.max_horizontal(overlap, pl.min_horizontal("first", pl.lit(first))))
        .alias("begin")
    )


def _latest(receipt: _Receipt, lake: Lake, table: str, ids: pl.Series, since: date | None = None) -> pl.DataFrame:
    """The newest version of each key the provider sent of those instruments, from session `since` on."""
    key = {_BARS: _BAR_KEY, _ACTIONS: _ACTION_KEY}[table]
    rows = lake.scan(receipt.market.name, table, since).filter(
        (pl.col("provider") == receipt.provider.name) & pl.col("instrument_id").is_in(ids.implode())
    )
    return rows.collect().sort("known_at").unique(key, keep="last", maintain_order=True)


def _changed_histories(receipt: _Receipt, lake: Lake, asked: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Of the instruments asked for their latest sessions only, those whose older history may read differently now.

    First those whose overlap suspects a basis break, then those with a split that was not known.
    """
    ids = asked["instrument_id"].unique()
    bars = receipt.bars.filter(pl.col("instrument_id").is_in(ids.implode()))
    suspects = suspected_breaks(bars, _latest(receipt, lake, _BARS, ids, _earliest(bars)))
    splits = receipt.actions.filter((pl.col("kind") == SPLIT) & pl.col("instrument_id").is_in(ids.implode()))
    if splits.is_empty() or not receipt.split_adjusted:
        return suspects, []
    known = _latest(receipt, lake, _ACTIONS, ids).filter(~pl.col("withdrawn"))
    unknown = splits.join(
        known.select(*_ACTION_KEY, pl.col("value").alias("known")), on=_ACTION_KEY, how="left"
    ).filter(pl.col("known").is_null() | ((pl.col("value") / pl.col("known") - 1).abs() > TOLERANCE))
    return suspects, unknown["instrument_id"].unique().to_list()


def _earliest(rows: pl.DataFrame) -> date | None:
    earliest = rows["session"].min()
    return earliest if isinstance(earliest, date) else None


def _store(receipt: _Receipt, lake: Lake, plan: pl.DataFrame, rebase: Collection[str]) -> None:
    """Compare with what is stored and append what differs; the caller holds the locks of both tables."""
    report, market = receipt.report, receipt.market.name
    bars = receipt.bars
    spans = plan.select(
        "instrument_id", pl.col("first").alias("stored_first"), pl.col("last").alias("stored_last")
    ).unique()
    ids = bars["instrument_id"].unique()
    latest = _latest(receipt, lake, _BARS, ids, _earliest(bars))
    found = changes(bars, latest, rebase)
    versions = _bar_versions(receipt, found, latest, spans)
    actions = _action_versions(receipt, lake, spans, found.basis_breaks)
    lake.append(market, _ACTIONS, actions.select(RECEIVED_ACTIONS.names))
    lake.append(market, _BARS, versions.select(RECEIVED_BARS.names))

    report.basis_breaks = found.basis_breaks
    report.new, report.revised, report.settled = found.new.height, found.revised.height, found.settled.height
    report.late = versions.filter(pl.col("change") == "late").height
    report.unchanged = found.unchanged
    count = Counter(actions["change"])
    report.actions_new = count["new"] + count["late"]
    report.actions_revised, report.actions_withdrawn = count["revised"], count["withdrawn"]
    changed = pl.concat(
        [
            versions.filter(pl.col("change") != "new").select("instrument_id", "session", "change"),
            actions.filter(pl.col("change") != "new").select("instrument_id", "session", change=pl.lit("action")),
        ]
    )
    report.touched = changed.unique().sort("session", "instrument_id", "change")


def _bar_versions(receipt: _Receipt, found: Changes, latest: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Rows of `received_bars` with their clocks, and `change`: new, late, revised or settled."""
    named = {"new": found.new, "revised": found.revised, "settled": found.settled}
    rows = pl.concat([frame.with_columns(change=pl.lit(change)) for change, frame in named.items()])
    rows = _known(receipt, rows, latest, _BAR_KEY).join(spans, on="instrument_id", how="left")
    rows = rows.join(receipt.due, on="session", how="left").with_columns(_late())
    told_then = pl.col("change").is_in(["late", "revised"]) | pl.col("provisional")
    return rows.with_columns(
        pl.when(told_then).then("known_at").otherwise(pl.min_horizontal("due", "known_at")).alias("available_at")
    )


def _action_versions(receipt: _Receipt, lake: Lake, spans: pl.DataFrame, breaks: pl.DataFrame) -> pl.DataFrame:
    """Rows of `received_actions` with their clocks, and `change`: new, late, revised or withdrawn.

    Payments up to the last session of a basis break are in the basis of the bars that were not taken, and are not taken
    either. A split always is: whether it was applied is for the quality rules to say.
    """
    received = receipt.actions
    ids = pl.concat([received["instrument_id"], receipt.windows["instrument_id"]]).unique()
    stored = _latest(receipt, lake, _ACTIONS, ids)
    broken = breaks.group_by("instrument_id").agg(pl.col("last_session").max().alias("broken_until"))
    compared = received.join(
        stored.select(*_ACTION_KEY, "value", "split_factor", "withdrawn"), on=_ACTION_KEY, how="left", suffix="_stored"
    ).join(broken, on="instrument_id", how="left")
    factor, factor_stored = pl.col("split_factor"), pl.col("split_factor_stored")
    rounding = (
        pl.when((factor / factor_stored - 1).abs() > TOLERANCE)
        .then(_AMOUNT_ROUNDING * (factor + factor_stored))
        .otherwise(0.0)
    )
    differs = (pl.col("value") - pl.col("value_stored")).abs() > TOLERANCE * pl.max_horizontal(
        "value", "value_stored"
    ) + rounding
    unknown = pl.col("withdrawn_stored").is_null()
    elsewhere = (pl.col("kind") != SPLIT) & (pl.col("session") <= pl.col("broken_until")).fill_null(False)
    told = compared.filter((unknown | pl.col("withdrawn_stored") | differs) & ~elsewhere).with_columns(
        pl.when(unknown).then(pl.lit("new")).otherwise(pl.lit("revised")).alias("change")
    )
    gone = _no_longer_told(receipt, stored).with_columns(withdrawn=pl.lit(True), change=pl.lit("withdrawn"))
    columns = [*received.columns, "change"]
    rows = _known(receipt, pl.concat([told.select(columns), gone.select(columns)]), stored, _ACTION_KEY)
    rows = rows.join(spans, on="instrument_id", how="left").with_columns(_late())
    return rows.join(_moments(receipt.exchange, rows["session"], None), on="session", how="left").with_columns(
        pl.when(pl.col("change") == "new")
        .then(pl.min_horizontal("due", "known_at"))
        .otherwise("known_at")
        .alias("available_at")
    )


def _no_longer_told(receipt: _Receipt, stored: pl.DataFrame) -> pl.DataFrame:
    """Stored actions inside the windows answered that the answer does not hold, not even as refused.

    An answer without a single action of a kind, where several are stored, comes from a source that does not tell that
    kind (a file of bars alone): it takes nothing back.
    """
    windows = receipt.windows
    unanswered = {symbol for symbol, _, _ in receipt.report.failures} - set(windows["symbol"])
    partly = receipt.asked.filter(pl.col("symbol").is_in(list(unanswered)))["instrument_id"]
    begins = (
        windows.filter(~pl.col("instrument_id").is_in(partly.implode()))
        .group_by("instrument_id")
        .agg(pl.col("begin").max())
    )
    until = receipt.exchange.local_date(receipt.now)
    gone = (
        stored.filter(~pl.col("withdrawn"))
        .join(begins, on="instrument_id")
        .filter(pl.col("session").is_between(pl.col("begin"), until))
        .join(receipt.actions, on=_ACTION_KEY, how="anti")
    )
    refused = receipt.report.refused_actions
    if not refused.is_empty():
        named = refused.join(windows, on="symbol").select("instrument_id", "session", "kind")
        gone = gone.join(named, on=["instrument_id", "session", "kind"], how="anti")
    told = receipt.actions.select("instrument_id", "kind", told=pl.lit(True)).unique()
    kinds = receipt.actions.select("kind", kind_told=pl.lit(True)).unique()
    judged = gone.join(told, on=["instrument_id", "kind"], how="left").join(kinds, on="kind", how="left")
    silent = pl.col("told").is_null() & (pl.len().over("instrument_id", "kind") > _MOST_TAKEN_BACK)
    of_kind = pl.col("kind_told").is_null() & (pl.len().over("kind") > _MOST_TAKEN_BACK)
    judged = judged.filter(~(silent | of_kind))
    receipt.report.withdrawals_doubted = gone.height - judged.height
    return judged.select(gone.columns)


def _known(receipt: _Receipt, rows: pl.DataFrame, latest: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """`rows` with `known_at`: now, or just after the version before where the clock went backwards."""
    before = latest.select(*key, (pl.col("known_at") + pl.duration(microseconds=1)).alias("after_last"))
    return (
        rows.join(before, on=key, how="left")
        .with_columns(pl.max_horizontal(pl.lit(receipt.now, MOMENT), "after_last").alias("known_at"))
        .drop("after_last")
    )


def _late() -> pl.Expr:
    """A first version inside the sessions already received: the provider did not have it when we last asked."""
    inside = pl.col("session").is_between(pl.col("stored_first"), pl.col("stored_last")).fill_null(False)
    return pl.when((pl.col("change") == "new") & inside).then(pl.lit("late")).otherwise("change").alias("change")
