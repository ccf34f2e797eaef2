"""Membership of the seeded universes: reading and checking the seeds, members by session, survivorship coverage."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources

import numpy as np
import polars as pl

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.instruments import Instruments, registry
from trading_pipeline.markets import Market, market_named
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import UNIVERSE_MEMBERS

SEED_COLUMNS = ("ticker", "valid_from", "valid_to", "source")
SECTOR_COLUMNS = ("instrument_id", "sector", "source")
DEFAULT_COVERAGE = 0.8


@dataclass(frozen=True)
class Universe:
    """A seeded universe.

    key: its name in capitals, unique over all markets.
    market: name of the market it belongs to.
    description: what it holds and where its facts come from.
    known_from: first day its membership is known; earlier sessions have no members (`reason_without_members`).
    as_of: day of the newest fact; later sessions carry the last known members forward.
    lines: fewest and most members that are believable on any session.
    coverage: share of the members that must have a bar on a session, 0 to 1.
    """

    key: str
    market: str
    description: str
    known_from: date
    as_of: date
    lines: tuple[int, int]
    coverage: float


UNIVERSES: dict[str, Universe] = {
    universe.key: universe
    for universe in (
        Universe(
            key="SPX500",
            market="us",
            description="S&P 500, all share classes; from index-constitution with the corrections beside the seed",
            known_from=date(2010, 1, 4),
            as_of=date(2026, 10, 6),
            lines=(490, 510),
            coverage=0.9,
        ),
        Universe(
            key="NASDAQ100",
            market="us",
            description="NASDAQ-100, all share classes; from index-constitution with the corrections beside the seed",
            known_from=date(2010, 1, 4),
            as_of=date(2026, 10, 9),
            lines=(95, 110),
            coverage=0.9,
        ),
        Universe(
            key="MEGA_CAP",
            market="us",
            description=(
                "US companies worth more than USD 500 billion at a year's end, all share classes as converted: members "
                "from the next year's first session, until the year after one that ends below USD 300 billion. "
                "No company qualified before the end of 2013; year ends after 2024 are not judged yet"
            ),
            known_from=date(2014, 1, 2),
            as_of=date(2025, 1, 2),
            lines=(1, 40),
            coverage=0.95,
        ),
        Universe(
            key="ASX200",
            market="asx",
            description=(
                "S&P/ASX 200: one snapshot of the members that could be confirmed, about four in five by number; "
                "membership before it is unknown, and changes after it are not followed"
            ),
            known_from=date(2026, 5, 19),
            as_of=date(2026, 5, 19),
            lines=(150, 205),
            coverage=0.9,
        ),
    )
}


def known(market: Market) -> tuple[str, ...]:
    """Keys of the seeded universes of a market."""
    return tuple(universe.key for universe in UNIVERSES.values() if universe.market == market.name)


def universe_named(market: Market, key: str) -> Universe:
    """The seeded universe of that market and key; `UnknownName` lists the market's universes otherwise."""
    if key not in known(market):
        raise UnknownName.of(f"universe of {market.name}", key, known(market))
    return UNIVERSES[key]


def members(market: Market, universe: str, sessions: Sequence[date] | np.ndarray) -> pl.DataFrame:
    """Members of a universe on `sessions`: the columns of `universe_members`, by session and instrument.

    ticker is the symbol of the session itself. sector is the latest one known, in the GICS structure of 2018 and after:
    unlike membership it is not point in time. A session before the universe is known has no rows (see
    `reason_without_members`), so a range gives the same rows as its sessions one by one.
    `UnknownName` lists the known universes, `InputRefused` names file and line of a seed that cannot be right.
    """
    spans = _spans(universe_named(market, universe))
    days = np.unique(np.asarray(sessions, dtype="datetime64[D]"))
    first = np.searchsorted(days, spans["valid_from"].to_numpy())
    last = np.searchsorted(days, spans["valid_to"].to_numpy())
    counts = np.maximum(last - first, 0)
    span = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[span]
    order = np.lexsort((span, place))
    rows = spans.select(pl.exclude("valid_from", "valid_to"))[span[order]]
    return rows.with_columns(session=pl.Series(days[place[order]], dtype=pl.Date), universe=pl.lit(universe)).select(
        UNIVERSE_MEMBERS.names
    )


def reason_without_members(market: Market, universe: str, sessions: Sequence[date] | np.ndarray) -> str | None:
    """Why some of `sessions` have no members, in one line for metadata and errors; None when all are covered."""
    found = universe_named(market, universe)
    early = [day for day in np.unique(np.asarray(sessions, dtype="datetime64[D]")).tolist() if day < found.known_from]
    if not early:
        return None
    return (
        f"{universe} has no members on {len(early)} of the sessions asked ({early[0]} to {early[-1]}): "
        f"its membership is known from {found.known_from} only, and today's list is never copied onto the past"
    )


@cache
def known_sectors() -> pl.DataFrame:
    """[instrument_id, sector] of every instrument whose sector is known, the latest one."""
    return read_sectors(_seed("sectors.csv"), "sectors.csv").select("instrument_id", "sector")


def survivorship_coverage(
    members: pl.DataFrame, bars: pl.DataFrame, thresholds: Mapping[str, float] | None = None
) -> pl.DataFrame:
    """How much of each universe has a bar, by session: what a survivor-only history would hide.

    members: [session, universe, instrument_id, …]; bars: [session, instrument_id, …], several rows a key allowed.
    Returns [session, universe, members, with_bar, coverage, threshold, sufficient], by universe and session; coverage
    is with_bar / members. `thresholds` replaces the universes' own; universes that nobody seeded need 0.8.
    """
    needed = {key: universe.coverage for key, universe in UNIVERSES.items()} | dict(thresholds or {})
    key, group = ["session", "instrument_id"], ["universe", "session"]
    asked = members.select("session", "universe", "instrument_id")
    with_bar = asked.join(bars.select(key), on=key, how="semi").group_by(group).agg(with_bar=pl.len())
    return (
        asked.group_by(group)
        .agg(members=pl.len().cast(pl.Int32))
        .join(with_bar, on=group, how="left")
        .with_columns(pl.col("with_bar").fill_null(0).cast(pl.Int32))
        .with_columns(
            coverage=pl.col("with_bar") / pl.col("members"),
            threshold=pl.col("universe").replace_strict(needed, default=DEFAULT_COVERAGE, return_dtype=pl.Float64),
        )
        .with_columns(sufficient=pl.col("coverage") >= pl.col("threshold"))
        .sort("universe", "session")
        .select("session", "universe", "members", "with_bar", "coverage", "threshold", "sufficient")
    )


def _seed(name: str) -> str:
    return resources.files("trading_pipeline.universes").joinpath("seeds", name).read_text(encoding="utf-8")


@cache
def _spans(universe: Universe) -> pl.DataFrame:
    """Checked spans of a seeded universe, cut where tickers change: members' columns with valid_from and valid_to."""
    market = market_named(universe.market)
    instruments = registry(market)
    spans = read_spans(_seed(f"{universe.key}.csv"), f"{universe.key}.csv", universe, instruments)
    sectors = read_sectors(_seed("sectors.csv"), "sectors.csv")
    return spans.join(sectors.select("instrument_id", "sector"), on="instrument_id", how="left").sort(
        "instrument_id", "valid_from"
    )


def read_sectors(text: str, origin: str) -> pl.DataFrame:
    """[instrument_id, sector, source] of the sectors' seed; `InputRefused` names file and line."""
    reader = _reader(text, origin, SECTOR_COLUMNS)
    rows: dict[str, tuple[str, str]] = {}
    for row in reader:
        if row["instrument_id"] in rows or not row["sector"]:
            fault = "has no sector" if not row["sector"] else "is listed twice"
            raise InputRefused(f"{origin}, line {reader.line_num}: {row['instrument_id']} {fault}", "Mend that line")
        rows[row["instrument_id"]] = (row["sector"], row["source"])
    return pl.DataFrame(
        [(key, *rest) for key, rest in rows.items()],
        schema=dict.fromkeys(SECTOR_COLUMNS, pl.String),
        orient="row",
    )


def read_spans(text: str, origin: str, universe: Universe, instruments: Instruments) -> pl.DataFrame:
    """Membership spans of a seed, checked, and cut where tickers change.

    Returns [instrument_id, ticker, valid_from, valid_to, source]; valid_to is `date.max` for present members.
    `InputRefused` names file and line of a malformed row, of a ticker nobody used on its valid_from, and of spans of
    one instrument that overlap; and the first session on which the number of members is not believable.
    """
    reader = _reader(text, origin, SEED_COLUMNS)
    rows, lines = [], []
    for row in reader:
        try:
            first = date.fromisoformat(row["valid_from"])
            last = date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max
        except (ValueError, TypeError) as error:
            raise InputRefused(
                f"{origin}, line {reader.line_num}: {error}", "Write dates as 2022-06-09; only valid_to may be empty"
            ) from None
        if first >= last:
            raise InputRefused(
                f"{origin}, line {reader.line_num}: {row['ticker']} ends on {last}, not after it begins on {first}",
                "valid_to is the first day no longer a member",
            )
        if not row["ticker"] or not row["source"]:
            raise InputRefused(f"{origin}, line {reader.line_num}: ticker or source is empty", "Fill it in")
        rows.append((row["ticker"], first, last, row["source"]))
        lines.append(reader.line_num)
    spans = pl.DataFrame(
        rows,
        schema={"ticker": pl.String, "valid_from": pl.Date, "valid_to": pl.Date, "source": pl.String},
        orient="row",
    ).with_columns(line=pl.Series(lines, dtype=pl.Int32))
    spans = _identified(spans, origin, instruments)
    _refuse_overlaps(spans, origin)
    _refuse_odd_counts(spans, origin, universe)
    return _cut_at_renames(spans, instruments).select("instrument_id", "ticker", "valid_from", "valid_to", "source")


def _reader(text: str, origin: str, columns: tuple[str, ...]) -> csv.DictReader[str]:
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != columns:
        raise InputRefused(f"{origin}, line 1: the columns are {reader.fieldnames}", f"Write {','.join(columns)}")
    return reader


def _identified(spans: pl.DataFrame, origin: str, instruments: Instruments) -> pl.DataFrame:
    """`spans` with instrument_id, and refused where the instrument had another ticker on valid_from."""
    found = instruments.ids_on(spans.rename({"valid_from": "session"})).rename({"session": "valid_from"})
    then = instruments.tickers_on(found.select("instrument_id", "ticker", "line", session="valid_from"))
    strangers = found.select("line", said="ticker").join(then, on="line").filter(pl.col("said") != pl.col("ticker"))
    if not strangers.is_empty():
        named = "; ".join(
            f"line {row['line']}: {row['said']} was {row['ticker']} on {row['session']}"
            for row in strangers.sort("line").iter_rows(named=True)
        )
        raise InputRefused(
            f"{origin} has tickers nobody used on their valid_from ({named})",
            "Write the ticker of valid_from, or add its span to symbol_spans.csv",
        )
    return found


def _refuse_overlaps(spans: pl.DataFrame, origin: str) -> None:
    clash = (
        spans.sort("instrument_id", "valid_from")
        .with_columns(
            next_from=pl.col("valid_from").shift(-1).over("instrument_id"),
            next_line=pl.col("line").shift(-1).over("instrument_id"),
        )
        .filter(pl.col("valid_to") > pl.col("next_from"))
    )
    if not clash.is_empty():
        row = clash.row(0, named=True)
        raise InputRefused(
            f"{origin}, lines {row['line']} and {row['next_line']}: {row['instrument_id']} is a member twice at once",
            "Let one span end before the other begins",
        )


def _refuse_odd_counts(spans: pl.DataFrame, origin: str, universe: Universe) -> None:
    exchange = calendar(market_named(universe.market).exchange)
    days = np.array(exchange.between(universe.known_from, exchange.last_day), dtype="datetime64[D]")
    joined = np.searchsorted(np.sort(spans["valid_from"].to_numpy()), days, side="right")
    left = np.searchsorted(np.sort(spans["valid_to"].to_numpy()), days, side="right")
    counts = joined - left
    fewest, most = universe.lines
    odd = np.flatnonzero((counts < fewest) | (counts > most))
    if odd.size:
        raise InputRefused(
            f"{origin} has {counts[odd[0]]} members on {days[odd[0]]}, not {fewest} to {most} ({odd.size} sessions so)",
            "Mend the spans around that session",
        )


def _cut_at_renames(spans: pl.DataFrame, instruments: Instruments) -> pl.DataFrame:
    """One row per ticker an instrument had while it was a member."""
    renames = instruments.spans.select(
        "instrument_id",
        "symbol",
        begins=pl.when(pl.int_range(pl.len()).over("instrument_id") > 0).then("valid_from").otherwise(date.min),
        ends=pl.col("valid_from").shift(-1).over("instrument_id").fill_null(date.max),
    )
    return (
        spans.join(renames, on="instrument_id", how="left")
        .with_columns(
            ticker=pl.coalesce("symbol", "ticker"),
            valid_from=pl.max_horizontal("valid_from", "begins"),
            valid_to=pl.min_horizontal("valid_to", "ends"),
        )
        .filter(pl.col("valid_from") < pl.col("valid_to"))
    )
