"""Bars of 1, 5 and 15 minutes from Parquet or CSV files, the way people bring their own history.

What belongs here: reading such files, whatever their columns are called, and finding out how long their bars are. What
does not: files of daily bars (`files.py`), judging bars and making coarser ones of them (`research/intraday/`).

A file needs a moment (or a date and a time), open, high, low, close and volume, and a ticker, unless its name begins
with it (`SPY.csv`, `SPY_1min_20250708_20250714.csv`). A moment without a zone is the exchange's time, as such files
have it; one with a zone or an offset is taken at its word, and a count since 1970 is UTC. How long the bars are follows
from the steps between them, not from the name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.base import Basis, Failure, Progress, Quota
from trading_pipeline.providers.errors import NotFound, ProviderError
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, MINUTES, Interval, IntradayBatch
from trading_pipeline.providers.intraday_answers import (
    PRICES,
    no_minutes,
    of_sessions,
    told_once,
    traded,
    unknown_outside_hours,
)
from trading_pipeline.providers.reading import (
    Tables,
    asked_for,
    by_market,
    key_of,
    keyed,
    numbers,
    raw_table,
    refused,
    renamed,
    symbols,
)
from trading_pipeline.sessions import calendar

Ints = npt.NDArray[np.int64]

# Spellings without capitals, spaces and punctuation.
_ALIASES: Final = {
    "moment": {"datetime", "timestamp", "startedat", "dateandtime"},
    "day": {"date", "day", "session"},
    "clock": {"time"},
    "symbol": {"ticker", "symbol", "code"},
    "open": {"open"},
    "high": {"high"},
    "low": {"low"},
    "close": {"close"},
    "volume": {"volume", "vol"},
}
_NUMBERS: Final = (*PRICES, "volume")
_STAMP: Final = (
    r"^(?<date>\d{4}-?\d{2}-?\d{2})[T ](?<hour>\d{2}):?(?<minute>\d{2})(?::?(?<second>\d{2})(?:\.\d+)?)?"
    r" ?(?:(?<utc>Z|UTC)|(?<sign>[+-])(?<hours>\d{2}):?(?<minutes>\d{2})?)?$"
)
_NAMED_INTERVAL: Final = re.compile(r"(?:^|[_\-. ])(1|5|15) ?(?:m|min|mins|minute|minutes)(?=$|[_\-. ])", re.IGNORECASE)
_TELLING_STEPS: Final = 20
"""Steps of one symbol and day that tell how long its bars are: that 20 steps of sparse one-minute bars are all
multiples of five happens once in 10^14."""


@dataclass(frozen=True)
class _Content:
    """What the files hold, once read.

    rows: INTRADAY_SCHEMA with `key`, by which symbols are found, and `interval`. held: what pairs of these there are.
    """

    rows: pl.DataFrame
    held: frozenset[tuple[str, str]]


class IntradayFiles:
    """A file of intraday bars, or a folder of them (not of folders).

    path: the file or the folder.
    basis: `split_adjusted` where prices are divided by later splits, as Yahoo and most downloads do; `as_traded` where
        they are what was printed that day.

    Nothing is read before it is needed, and nothing twice until a file changes. `InputRefused` names the file, and the
    column, that cannot be used.
    """

    name = "files"
    lag = timedelta(0)
    quota = Quota(rate_per_second=1_000_000.0, burst=1_000_000.0, concurrency=1)

    def __init__(self, path: Path, *, basis: Basis = "split_adjusted") -> None:
        self.path = path
        self.basis = basis
        self._tables = Tables(path, "INTRADAY_FILES", lambda files: _read_all(path, files))

    def covers(self, symbol: str) -> bool:
        """Whether the files hold a bar of `symbol`, in whatever spelling of its class mark (BRK.B, BRK-B)."""
        return any((key_of(symbol), interval) in self._tables.content().held for interval in MINUTES)

    def symbols(self) -> list[str]:
        """Every symbol the files hold a bar of, as they spell it, sorted."""
        return sorted(self._tables.content().rows["symbol"].unique())

    def reach(self, interval: Interval) -> timedelta | None:
        """None: as far as the files go."""
        return None

    def intraday_bars(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        interval: Interval,
        *,
        now: datetime,
        since: datetime | None = None,
        progress: Progress | None = None,
    ) -> IntradayBatch:
        """Bars of `symbols` on `sessions` that were over by `now`. See `IntradayProvider.intraday_bars`.

        A file tells how a bar ended, so that one under way at `now` would tell what nobody knew yet. Bars are told at
        the length they have in the files, never made from finer ones. Volume is null where it is zero outside regular
        hours.
        """
        content = self._tables.content()
        distinct = list(dict.fromkeys(symbols))
        asked = asked_for(distinct)
        over = pl.col("started_at") + timedelta(minutes=MINUTES[interval]) <= now
        found = (
            content.rows.filter((pl.col("interval") == interval) & over & pl.col("key").is_in(asked["key"].implode()))
            .join(asked, on="key", maintain_order="left")
            .with_columns(symbol="asked")
            .select(INTRADAY_SCHEMA.names())
        )
        bars, again = told_once(unknown_outside_hours(of_sessions(found, market, sessions, since), market))
        answered = set(bars["symbol"].unique())
        if progress is not None:
            progress(len(distinct), len(distinct))
        return IntradayBatch(
            bars=bars,
            failures=[
                Failure(symbol, self._missing(content, symbol, interval, sessions))
                for symbol in distinct
                if symbol not in answered
            ],
            basis=self.basis,
            duplicates=again,
        )

    def _missing(self, content: _Content, symbol: str, interval: Interval, sessions: Sequence[date]) -> ProviderError:
        held = [each for each in MINUTES if (key_of(symbol), each) in content.held]
        if interval in held:
            return no_minutes(symbol, interval, sessions)
        if held:
            return NotFound(
                f"{self.path} holds bars of {symbol} of {' and '.join(held)}, none of {interval}",
                "Bring files of that interval, or ask for one that is there",
            )
        return NotFound(f"{self.path} holds no {symbol}")


def _read_all(path: Path, files: Sequence[Path]) -> _Content:
    if not files:
        raise InputRefused(f"{path} holds no Parquet or CSV file of bars", "Put bars there, or name another folder")
    rows = pl.concat([_bars_of(file) for file in files])
    return _Content(rows, frozenset(rows.select("key", "interval").unique().iter_rows()))


def _bars_of(file: Path) -> pl.DataFrame:
    """INTRADAY_SCHEMA, key and interval of one file, in its order."""
    raw = renamed(file, raw_table(file), _ALIASES)
    missing = [name for name in _NUMBERS if name not in raw.columns]
    if not {"moment", "day", "clock"} & set(raw.columns):
        missing.insert(0, "datetime")
    if missing:
        raise InputRefused(
            f"{file.name} has no column for {' and '.join(missing)}; it has {', '.join(raw.columns)}",
            "Rename its columns to datetime, ticker, open, high, low, close, volume",
        )
    raw = raw.filter(~pl.all_horizontal(pl.all().is_null()))
    raw = raw.with_columns(numbers(file, raw[name]) for name in _NUMBERS)
    raw = raw.with_columns(_symbols(file, raw))
    raw = raw.with_columns(started_at=_moments(file, raw))
    rows = keyed(traded(raw.select(INTRADAY_SCHEMA.names())))
    return rows.join(_intervals(file, rows), on="symbol", maintain_order="left")


def _symbols(file: Path, raw: pl.DataFrame) -> pl.Series:
    """Tickers in capitals; what the name of the file begins with where it has no column for them."""
    if "symbol" in raw.columns:
        return symbols(file, raw)
    first = re.split(r"[_ ]", file.stem)[0]
    if not first or first[0].isdigit() or _NAMED_INTERVAL.search(first):
        raise InputRefused(
            f"{file.name} has no column for the ticker, and its name does not begin with one",
            "Add a column ticker, or call the file SPY_1min.csv",
        )
    return pl.Series("symbol", [first.upper()] * raw.height, dtype=pl.String)


# --- when -------------------------------------------------------------------------------------------------------


def _moments(file: Path, raw: pl.DataFrame) -> pl.Series:
    """First moments of the bars, UTC."""
    stamps = _stamps(file, raw)
    if stamps.dtype == pl.String:
        whole = stamps.cast(pl.Int64, strict=False)
        if len(whole) and whole.is_not_null().all():
            stamps = whole
    if stamps.dtype == pl.String:
        moments = _written(raw["symbol"], stamps)
    elif stamps.dtype.is_integer():
        moments = _counted(stamps)
    elif isinstance(stamps.dtype, pl.Datetime):
        if stamps.dtype.time_zone is None:
            moments = _local(raw["symbol"], stamps)
        else:
            moments = stamps.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    else:
        raise InputRefused(
            f"{file.name}: column {stamps.name} is {stamps.dtype}, not moments", "Write them like 2025-07-08 09:30:00"
        )
    if moments.null_count():
        raise refused(file, stamps.name, stamps, moments.is_null(), "no moment like 2025-07-08 09:30:00")
    return moments.alias("started_at")


def _stamps(file: Path, raw: pl.DataFrame) -> pl.Series:
    """The column that says when; a date and a time of their own are put together."""
    if "moment" in raw.columns:
        return raw["moment"].alias("datetime")
    if "day" not in raw.columns or "clock" not in raw.columns:
        return raw["day" if "day" in raw.columns else "clock"].alias("datetime")
    both = [raw["day"].cast(pl.String).str.slice(0, 10), raw["clock"].cast(pl.String)]
    return raw.select(pl.concat_str(*both, separator=" ").alias("date and time")).to_series()


def _written(symbols: pl.Series, texts: pl.Series) -> pl.Series:
    """Moments of texts: by their offset where they have one, in the exchange's time otherwise."""
    part = texts.str.strip_chars().str.extract_groups(_STAMP).struct.unnest()
    day = part["date"].str.replace_all("-", "")
    clock = part["hour"] + part["minute"] + part["second"].fill_null("00")
    written = (day + clock).str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    ahead = part["hours"].cast(pl.Int64) * 60 + part["minutes"].fill_null("00").cast(pl.Int64)
    ahead = ahead.zip_with((part["sign"] != "-").fill_null(value=True), -ahead)
    ahead = ahead.zip_with(part["utc"].is_null(), pl.zeros(len(ahead), dtype=pl.Int64, eager=True))
    told = pl.DataFrame({"written": written, "ahead": ahead}).select(
        (pl.col("written") - pl.duration(minutes=pl.col("ahead"))).dt.replace_time_zone("UTC")
    )
    return told.to_series().zip_with(ahead.is_not_null(), _local(symbols, written))


def _counted(counts: pl.Series) -> pl.Series:
    """Moments of counts since 1970, in seconds, milli-, micro- or nanoseconds by their size."""
    size = counts.cast(pl.Int64)
    largest = int(size.abs().to_numpy().max(initial=0))
    units: tuple[tuple[Literal["s", "ms", "us", "ns"], float], ...] = (
        ("s", 1e11),
        ("ms", 1e14),
        ("us", 1e17),
        ("ns", float("inf")),
    )
    unit = next(unit for unit, limit in units if largest < limit)
    return pl.from_epoch(size, unit).dt.cast_time_unit("us").dt.replace_time_zone("UTC")


def _local(symbols: pl.Series, naive: pl.Series) -> pl.Series:
    """UTC of the exchange's own time; null where the clock jumped over it. The earlier one where it came twice."""
    zones = {market.name: str(calendar(market.exchange).timezone) for market in MARKETS.values()}
    moment = pl.col("moment")
    in_utc = {
        name: moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
        for name, zone in zones.items()
    }
    return (
        pl.DataFrame({"symbol": symbols, "moment": naive.dt.cast_time_unit("us")})
        .select(by_market(in_utc))
        .to_series()
        .alias(naive.name)
    )


# --- how long ---------------------------------------------------------------------------------------------------


def _intervals(file: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval: how long the bars of each symbol are.

    The length is the largest that all steps of a symbol within its days are multiples of. `InputRefused` where it
    changes from day to day (two lengths in one file) or is none of ours. A symbol with too few bars to tell has the
    length of the others, or the one that the file's name says. The last row may lie off the grid: downloads made
    during a session end in the price of their moment.
    """
    steps = (
        rows.select("symbol", "started_at", day=_local_day())
        .unique()
        .sort("symbol", "started_at")
        .filter(pl.col("started_at") < pl.col("started_at").max().over("symbol"))
        .with_columns(step=pl.col("started_at").diff().over("symbol", "day").dt.total_seconds())
        .filter(pl.col("step").is_not_null())
    )
    begins = np.flatnonzero(steps.select(pl.struct("symbol", "day").rle_id().diff().fill_null(1)).to_series() > 0)
    of_days = steps.select("symbol", "day")[begins].with_columns(
        length=_common(steps["step"], begins), count=np.diff(np.append(begins, steps.height))
    )
    telling = of_days.filter(pl.col("count") >= _TELLING_STEPS)
    for symbol, lengths in telling.group_by("symbol", maintain_order=True).agg(pl.col("length").unique().sort()).rows():
        if len(lengths) > 1:
            raise InputRefused(
                f"{file.name} mixes bars of {' and '.join(map(_spoken, lengths))} ({symbol})",
                "Put bars of each length in a file of their own",
            )
    begins = np.flatnonzero(of_days["symbol"].rle_id().diff().fill_null(1) > 0)
    of_symbols = dict(
        of_days[begins]
        .select("symbol", length=pl.Series(_common(of_days["length"], begins)))
        .join(of_days.group_by("symbol").agg(pl.col("count").sum()), on="symbol")
        .filter(pl.col("count") >= _TELLING_STEPS)
        .select("symbol", "length")
        .iter_rows()
    )
    seconds = {60 * minutes: interval for interval, minutes in MINUTES.items()}
    for symbol, length in sorted(of_symbols.items()):
        if length not in seconds:
            raise InputRefused(
                f"{file.name} holds bars of {_spoken(length)} ({symbol})", "Bring bars of 1, 5 or 15 minutes"
            )
    named = _NAMED_INTERVAL.search(file.stem)
    others = {seconds[length] for length in of_symbols.values()}
    usual = others.pop() if len(others) == 1 else f"{named[1]}m" if named else None
    told = rows["symbol"].unique(maintain_order=True)
    found = [seconds[of_symbols[symbol]] if symbol in of_symbols else usual for symbol in told]
    if None in found:
        raise InputRefused(
            f"{file.name} holds too few bars of {told[found.index(None)]} to tell how long they are",
            f"Say it in the file's name, as in {told[found.index(None)]}_5min{file.suffix}",
        )
    return pl.DataFrame({"symbol": told, "interval": found}, schema={"symbol": pl.String, "interval": pl.String})


def _common(steps: pl.Series, begins: Ints) -> Ints:
    """Of each group of steps (`begins`: where they begin), the largest length that all are multiples of, in seconds."""
    if not len(begins):
        return np.empty(0, dtype=np.int64)
    common: Ints = np.gcd.reduceat(steps.to_numpy(), begins)
    return common


def _spoken(seconds: int) -> str:
    return f"{seconds} seconds" if seconds % 60 else f"{seconds // 60} minutes"


def _local_day() -> pl.Expr:
    """The exchange's local date of a bar."""
    zones = {market.name: str(calendar(market.exchange).timezone) for market in MARKETS.values()}
    return by_market({name: pl.col("started_at").dt.convert_time_zone(zone).dt.date() for name, zone in zones.items()})
