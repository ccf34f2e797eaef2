"""What becomes of intraday bars on their way into the lake: as traded, placed in a session, judged, versioned.

What belongs here: the order of those steps and the report of a receipt. What does not: the providers, the arithmetic
(`research/intraday/`), and which names and sessions are asked for (`world.py`).

*Basis.* A provider that adjusts divides the past by a split as soon as it trades, on the morning of its ex-date; the
daily bars and actions of that session are received in its evening. So bars of sessions that are over count as traded
only where their daily bar says so, and those that were received between the ex-date and the word of the split are asked
for again after it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Any

import polars as pl

from trading_pipeline.errors import LiveOnly
from trading_pipeline.ingest_reference import versions_to_add
from trading_pipeline.markets import Market
from trading_pipeline.providers.base import Progress
from trading_pipeline.providers.intraday import Interval, IntradayBatch, IntradayProvider
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.research.intraday.phases import ExtendedHours, forming, length_of, placed
from trading_pipeline.research.intraday.quality import assess
from trading_pipeline.research.premarket import INTRADAY_LOOKBACK
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BARS,
    INTRADAY_BARS,
    INTRADAY_ISSUES,
    MOMENT,
    RECEIVED_ACTIONS,
)

_SHOWN = 20


@dataclass
class IntradayReport:
    """What one receipt of intraday bars asked, got and stored.

    wanted, answered: symbols, summed over requests. rules: how many bars broke which rule. silent: why nothing was
    asked; empty where something was. untold: watched names that the provider does not tell at all.
    """

    provider: str = ""
    wanted: int = 0
    answered: int = 0
    http_calls: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    new: int = 0
    revised: int = 0
    unchanged: int = 0
    forming: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    silent: str = ""
    untold: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        """Plain values for a run's metadata; lists are cut to their first twenty."""
        failed = Counter(kind for _, kind, _ in self.failures)
        return {
            "provider": self.provider,
            "tickers_wanted": self.wanted,
            "tickers_answered": self.answered,
            "coverage": round(self.answered / self.wanted, 4) if self.wanted else 1.0,
            "failed": dict(sorted(failed.items())),
            "failures": [f"{symbol}: {message}" for symbol, _, message in self.failures[:_SHOWN]],
            "http_calls": self.http_calls,
            "tickers_not_told": self.untold[:_SHOWN],
            "rows_new": self.new,
            "rows_revised": self.revised,
            "rows_unchanged": self.unchanged,
            "rows_forming": self.forming,
            "rules_broken": dict(sorted(self.rules.items())),
            "seconds": round(self.seconds, 3),
            **({"not_asked": self.silent} if self.silent else {}),
        }


def session_hours(market: Market, sessions: Sequence[date]) -> pl.DataFrame:
    """[session, opened_at, closed_at], UTC, of sessions of the market's exchange."""
    exchange = calendar(market.exchange)
    return pl.DataFrame(
        {
            "session": list(sessions),
            "opened_at": [exchange.open_at(day) for day in sessions],
            "closed_at": [exchange.close_at(day) for day in sessions],
        },
        schema={"session": pl.Date, "opened_at": MOMENT, "closed_at": MOMENT},
    )


def receive(
    provider: IntradayProvider,
    market: Market,
    ids: Mapping[str, str],
    tickers: pl.DataFrame,
    sessions: Sequence[date],
    lake: Lake,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> IntradayReport:
    """Ask `provider` for the minutes of the symbols in `ids` on `sessions`, and store what is new.

    ids: instrument id by symbol. tickers: [instrument_id, ticker]. Asked for is what is not stored whole: 5-minute bars
    of `sessions` and of the `INTRADAY_LOOKBACK` ones before them, 1-minute bars of `sessions`, of the one before, and
    of those a receipt during the session left half. `LiveOnly` where the first of `sessions` is beyond the provider's
    reach; the others are left out there.
    """
    report = IntradayReport(provider.name)
    if not ids:
        report.silent = f"{provider.name} tells none of the watched names"
        return report
    exchange = calendar(market.exchange)
    window = exchange.between(exchange.offset(sessions[0], -INTRADAY_LOOKBACK), sessions[-1])
    if not reaches(provider, market, "5m", sessions[0], now):
        raise LiveOnly(
            f"{provider.name} tells no minutes of {sessions[0]} any more",
            "Leave intraday_bars out for sessions that long ago, or bring minutes with INTRADAY_FILES",
        )
    today = exchange.local_date(now)
    splits = _splits(lake, market, window[0], today, now)
    daily = _daily(lake, market, set(ids.values()), window[0], today, now)
    begun = [day for day in window if exchange.open_at(day) - market.extended_hours[0] < now]
    for interval in ("5m", "1m"):
        told = [day for day in begun if reaches(provider, market, interval, day, now)]
        if not told:
            continue
        stored = _stored(lake, provider, market, interval, told, splits)
        whole = set(stored.filter("whole").select("instrument_id", "session").iter_rows())
        if provider.reach(interval) is None:
            # Files cost nothing to be read again, and may hold more than they did.
            whole = {(id_, day) for id_, day in whole if day not in sessions}
        if interval == "1m":
            begins = exchange.offset(sessions[0], -1)
            half = set(stored.filter(~pl.col("whole"))["session"])
            told = [day for day in told if (day >= begins or day in half) and exchange.open_at(day) <= now]
        for missing, theirs in _missing(ids, told, whole):
            store(
                report,
                provider.intraday_bars(market, list(theirs), missing, interval, now=now, progress=progress),
                lake=lake,
                market=market,
                provider=provider,
                interval=interval,
                ids=theirs,
                tickers=tickers,
                sessions=missing,
                splits=splits.filter(~pl.col("withdrawn")),
                daily=daily,
                now=now,
            )
    return report


def _splits(lake: Lake, market: Market, since: date, until: date, now: datetime) -> pl.DataFrame:
    """[instrument_id, session, kind, value, withdrawn, known_at] of splits by ex-date, as known at `now`.

    Of those that the best view does not hold yet, what was received counts, where all who told of it say the same.
    """
    split = pl.col("kind") == "split"
    columns = ["instrument_id", "session", "kind", "value", "withdrawn", "known_at"]
    viewed = in_force(lake.read(market.name, CORPORATE_ACTIONS, since, until, predicate=split), now).select(columns)
    known = split & (pl.col("known_at") <= pl.lit(now, MOMENT))
    key = ["instrument_id", "session"]
    received = (
        lake.read(market.name, RECEIVED_ACTIONS, since, until, predicate=known)
        .sort(*key, "provider", "known_at")
        .unique([*key, "provider"], keep="last", maintain_order=True)
        .filter(~pl.col("withdrawn"), pl.col("value").n_unique().over(key) == 1)
        .unique(key, keep="first", maintain_order=True)
        .select(columns)
    )
    return pl.concat([viewed, received.join(viewed, on=key, how="anti")])


def _daily(
    lake: Lake, market: Market, instruments: Collection[str], since: date, until: date, now: datetime
) -> pl.DataFrame:
    """[session, instrument_id, high, low] of daily bars before `until`, as known at `now`; bad and forming ones not."""
    mine = pl.col("instrument_id").is_in(sorted(instruments))
    bars = in_force(lake.read(market.name, DAILY_BARS, since, until, predicate=mine), now)
    over = (pl.col("session") < until) & ~pl.col("provisional") & (pl.col("data_quality") != "bad")
    return bars.filter(over).select("session", "instrument_id", "high", "low")


def reaches(provider: IntradayProvider, market: Market, interval: Interval, day: date, now: datetime) -> bool:
    """Whether the provider still tells bars of a session: from the exchange's midnight on, as it is asked."""
    reach, exchange = provider.reach(interval), calendar(market.exchange)
    return reach is None or datetime.combine(day, time_of_day.min, exchange.timezone) >= now - reach


def _missing(
    ids: Mapping[str, str], told: Sequence[date], whole: set[tuple[str, date]]
) -> list[tuple[list[date], Mapping[str, str]]]:
    """(sessions to ask for, instrument ids by symbol): names that lack the same session first are asked together."""
    first: dict[date, dict[str, str]] = {}
    for symbol, id_ in ids.items():
        lacking = next((day for day in told if (id_, day) not in whole), None)
        if lacking is not None:
            first.setdefault(lacking, {})[symbol] = id_
    return [([day for day in told if day >= since], theirs) for since, theirs in sorted(first.items())]


def _stored(
    lake: Lake,
    provider: IntradayProvider,
    market: Market,
    interval: Interval,
    sessions: Sequence[date],
    splits: pl.DataFrame,
) -> pl.DataFrame:
    """[instrument_id, session, whole] of what is stored.

    whole: received after the session's last bar was final, and not after the ex-date of a split of which nobody knew.
    """
    mine = (pl.col("provider") == provider.name) & (pl.col("interval") == interval)
    columns = ["session", "instrument_id", "known_at"]
    rows = lake.read(market.name, INTRADAY_BARS, sessions[0], sessions[-1], predicate=mine, columns=columns)
    final = session_hours(market, sessions).select(
        "session", final_at=pl.col("closed_at") + market.extended_hours[1] + provider.lag
    )
    received = rows.group_by("session", "instrument_id").agg(pl.col("known_at").max()).join(final, on="session")
    zone = str(calendar(market.exchange).timezone)
    day = pl.col("known_at").dt.convert_time_zone(zone).dt.date()
    told = splits.select("instrument_id", ex_date="session", told_at="known_at")
    doubted = received.join(told, on="instrument_id").filter(
        (pl.col("session") < pl.col("ex_date")) & (pl.col("ex_date") <= day) & (pl.col("known_at") < pl.col("told_at"))
    )
    key = ["instrument_id", "session"]
    marked = received.join(doubted.select(*key, doubted=True).unique(), on=key, how="left")
    whole = (pl.col("known_at") >= pl.col("final_at")) & pl.col("doubted").is_null()
    return marked.select(*key, whole=whole)


def store(
    report: IntradayReport,
    batch: IntradayBatch,
    *,
    lake: Lake,
    market: Market,
    provider: IntradayProvider,
    interval: Interval,
    ids: Mapping[str, str],
    tickers: pl.DataFrame,
    sessions: Sequence[date],
    splits: pl.DataFrame,
    daily: pl.DataFrame,
    now: datetime,
) -> None:
    """Append what is new of `sessions` in a provider's answer, quarantine what breaks a rule, and count both.

    ids: instrument id by the symbol that was asked for. tickers: [instrument_id, ticker], of each. splits:
    [instrument_id, session, kind, value], those known by now; an answer that is adjusted for them is brought back to
    what was traded. daily: [session, instrument_id, high, low] as traded, of sessions that are over: where such an
    answer does not agree with them it is in the basis of a split nobody told, and quarantined. Bars of other sessions
    are not ours: the provider told more than it was asked.
    """
    started = time.perf_counter()
    report.provider = provider.name
    report.http_calls += batch.http_calls
    report.wanted += len(ids)
    failed = {failure.symbol for failure in batch.failures}
    report.answered += len([symbol for symbol in ids if symbol not in failed])
    report.failures += [(each.symbol, each.error.kind, each.error.problem) for each in batch.failures]
    exchange, days = calendar(market.exchange), session_hours(market, sessions)
    names = pl.DataFrame(
        {"symbol": list(ids), "instrument_id": list(ids.values())},
        schema={"symbol": pl.String, "instrument_id": pl.String},
    ).join(tickers, on="instrument_id", how="left", maintain_order="left")
    told = placed(
        pl.concat([batch.bars, batch.duplicates])
        .join(names, on="symbol", maintain_order="left")
        .with_columns(
            ticker=pl.coalesce("ticker", "symbol"),
            interval=pl.lit(interval),
            provider=pl.lit(provider.name),
            known_at=pl.lit(now, MOMENT),
        ),
        days,
        str(exchange.timezone),
        ExtendedHours(*market.extended_hours),
    )
    local_date = pl.col("started_at").dt.convert_time_zone(str(exchange.timezone)).dt.date()
    told = told.filter(local_date.is_in(list(sessions)))
    judged = assess(_as_traded(told, splits, batch), None if batch.basis == "as_traded" else daily)
    report.rules.update(judged.issues["rule"].to_list())
    over = pl.col("started_at") + length_of(pl.col("interval"))
    bars = judged.kept.with_columns(forming=forming(pl.col("interval"), pl.lit(now, MOMENT))).with_columns(
        available_at=pl.when("forming")
        .then(pl.lit(now, MOMENT))
        .otherwise(pl.min_horizontal(over + provider.lag, pl.lit(now, MOMENT)))
    )
    report.forming += int(bars["forming"].sum())
    bars = bars.select(INTRADAY_BARS.names)
    issues = judged.issues.join(names.select("instrument_id", "ticker"), on="instrument_id", how="left").with_columns(
        session=pl.coalesce("session", local_date),
        available_at=pl.lit(now, MOMENT),
        known_at=pl.lit(now, MOMENT),
    )
    mine = (pl.col("provider") == provider.name) & (pl.col("interval") == interval)
    ours = mine & pl.col("instrument_id").is_in(sorted(ids.values()))
    with lake.lock(market.name, INTRADAY_BARS.name):
        stored = lake.read(market.name, INTRADAY_BARS, sessions[0], sessions[-1], predicate=ours)
        fresh, revised = versions_to_add(INTRADAY_BARS, stored, bars, now)
        lake.append(market.name, INTRADAY_BARS.name, fresh)
    with lake.lock(market.name, INTRADAY_ISSUES.name):
        known = lake.read(market.name, INTRADAY_ISSUES, sessions[0], sessions[-1], predicate=ours)
        found = issues.select(INTRADAY_ISSUES.names).unique(INTRADAY_ISSUES.key, maintain_order=True)
        seen = found.join(known, on=list(INTRADAY_ISSUES.key), how="anti", nulls_equal=True)
        lake.append(market.name, INTRADAY_ISSUES.name, seen)
    report.new += fresh.height - revised
    report.revised += revised
    report.unchanged += bars.height - fresh.height
    report.seconds += time.perf_counter() - started


def _as_traded(told: pl.DataFrame, splits: pl.DataFrame, batch: IntradayBatch) -> pl.DataFrame:
    """Bars in the basis of their own session; those of no session have no basis and stay as told."""
    if batch.basis == "as_traded" or splits.is_empty():
        return told
    inside = told.filter(pl.col("session").is_not_null())
    actions = splits.select("session", "kind", "value", symbol="instrument_id")
    renamed = inside.rename({"symbol": "asked"}).with_columns(symbol="instrument_id", adj_close=pl.col("close"))
    traded = undo_splits(renamed, actions, "split_adjusted").bars.drop("symbol").rename({"asked": "symbol"})
    return pl.concat([traded.select(told.columns), told.filter(pl.col("session").is_null())])
