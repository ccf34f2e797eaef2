"""Reading the tables people bring: Parquet or CSV, whatever their columns are called.

What belongs here: which files of a folder are read and when again, how a file, a column, a number, a ticker and a date
are read, and how one that cannot be is named. What does not: what the columns mean (`files.py` reads bars,
`intraday_files.py` minutes, `fundamentals_files.py` snapshots).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Final, Generic, TypeVar

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.sessions import calendar

Content = TypeVar("Content")

_SUFFIXES: Final = {".parquet", ".pq", ".csv"}
_CLASS_MARK: Final = re.compile(r"[./ ]")
NO_VALUE: Final = ("", "null", "none", "nan", "na", "n/a", "-")
"""How files spell that there is no value, in small letters."""


class Tables(Generic[Content]):
    """A Parquet or CSV file, or a folder of them (not of folders), read when needed and again when one has changed.

    setting: what names the path. read: makes the content of the files. further: a file beside them, listed last.
    """

    def __init__(
        self, path: Path, setting: str, read: Callable[[list[Path]], Content], further: Path | None = None
    ) -> None:
        self._path, self._setting, self._read, self._further = path, setting, read, further
        self._lock = threading.Lock()
        self._kept: tuple[object, Content] | None = None

    def content(self) -> Content:
        """What the files hold; `InputRefused` where there is no such path."""
        with self._lock:
            try:
                files = self._listed()
                state = [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
            except OSError as error:
                raise InputRefused(
                    f"{error.filename or self._path} cannot be read ({error.strerror})",
                    f"Set {self._setting} to a Parquet or CSV file, or to a folder of them",
                ) from error
            if self._kept is None or self._kept[0] != state:
                self._kept = (state, self._read(files))
            return self._kept[1]

    def _listed(self) -> list[Path]:
        files = [self._path]
        if self._path.is_dir():
            found = (file for file in sorted(self._path.iterdir()) if not file.name.startswith(".") and file.is_file())
            files = [file for file in found if file.suffix.lower() in _SUFFIXES]
        return [*files, *([self._further] if self._further else [])]


def key_of(symbol: str) -> str:
    """Spelling by which symbols are compared: BRK.B, BRK/B and brk-b are one."""
    return _CLASS_MARK.sub("-", symbol.strip().upper())


def keyed(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the column `key`: `key_of` its column `symbol`, whose tickers are in capitals."""
    return frame.with_columns(key=pl.col("symbol").str.replace_all(_CLASS_MARK.pattern, "-"))


def asked_for(symbols: Iterable[str]) -> pl.DataFrame:
    """Columns asked and key: symbols as they were asked for, and what they are found by."""
    asked = list(symbols)
    return pl.DataFrame(
        {"asked": asked, "key": [key_of(symbol) for symbol in asked]}, schema={"asked": pl.String, "key": pl.String}
    )


def market_of(symbol: str) -> Market:
    """The market whose suffix the symbol ends in; the one without a suffix otherwise."""
    return max(
        (market for market in MARKETS.values() if symbol.upper().endswith(market.ticker_suffix)),
        key=lambda market: len(market.ticker_suffix),
    )


def by_market(values: dict[str, pl.Expr]) -> pl.Expr:
    """For each row the value of the market that its symbol belongs to; the same rule as `market_of`."""
    suffixed = sorted((market for market in MARKETS.values()), key=lambda market: len(market.ticker_suffix))
    return reduce(
        lambda otherwise, market: (
            pl.when(pl.col("symbol").str.ends_with(market.ticker_suffix)).then(values[market.name]).otherwise(otherwise)
        ),
        suffixed,
        pl.lit(None),
    )


def raw_table(file: Path) -> pl.DataFrame:
    """The file as it is; CSV columns as text, so that a value that cannot be used can be named."""
    kind = "CSV" if file.suffix.lower() == ".csv" else "Parquet"
    try:
        if kind == "CSV":
            return pl.read_csv(file, infer_schema=False)
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        first_line = next(iter(str(error).splitlines()), "")
        raise InputRefused(
            f"{file.name} cannot be read as {kind} ({first_line[:120]})", "Write it again, or take it away"
        ) from error


def renamed(file: Path, frame: pl.DataFrame, aliases: dict[str, set[str]]) -> pl.DataFrame:
    """`frame` with our names for the columns we know; the others keep theirs and are not read."""
    ours: dict[str, str] = {}
    for column in frame.columns:
        plain = re.sub(r"[^a-z0-9]", "", column.lower())
        name = next((name for name, spellings in aliases.items() if plain in spellings), None)
        if name in ours.values():
            first = next(column for column, taken in ours.items() if taken == name)
            raise InputRefused(
                f"{file.name}: columns {first} and {column} both look like {name}", "Take one of them out"
            )
        if name is not None:
            ours[column] = name
    return frame.rename(ours)


def refused(file: Path, column: str, values: pl.Series, where: pl.Series, why: str) -> InputRefused:
    """The error of the first of `values` at which `where` holds; rows are counted from 1, the header not among them."""
    row = int(where.arg_true()[0])
    return InputRefused(
        f"{file.name}: column {column} holds {values[row]!r} in row {row + 1}, which is {why}",
        "Mend it, or take the row out",
    )


def numbers(file: Path, values: pl.Series) -> pl.Series:
    """Float64, not-a-number and infinite values as null."""
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        values = text.set(text.str.to_lowercase().is_in(NO_VALUE), None)
    elif not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise InputRefused(f"{file.name}: column {values.name} is {values.dtype}, not numbers", "Write it as numbers")
    numbers = values.cast(pl.Float64, strict=False)
    odd = numbers.is_null() & values.is_not_null()
    if odd.any():
        raise refused(file, values.name, values, odd, "no number")
    return numbers.set(~numbers.is_finite(), None)


def symbols(file: Path, raw: pl.DataFrame) -> pl.Series:
    """Tickers in capitals; the name of the file where it has no column for them."""
    if "symbol" not in raw.columns:
        return pl.Series("symbol", [file.stem.upper()] * raw.height, dtype=pl.String)
    symbols = raw["symbol"].cast(pl.String).str.strip_chars().str.to_uppercase()
    blank = symbols.is_null() | (symbols == "")
    if blank.any():
        row = blank.arg_true()[0] + 1
        raise InputRefused(f"{file.name}: column ticker is empty in row {row}", "Fill it in, or take the row out")
    return symbols


def dates(file: Path, raw: pl.DataFrame) -> pl.Series:
    """Local dates of the exchange.

    A date is taken as it is written, whatever its offset. Only a moment written in UTC and not at midnight, and a count
    of seconds, are moments: they are turned into the exchange's local date.
    """
    stamps = raw["session"]
    if stamps.dtype == pl.String:
        text = stamps.str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        if len(whole) and whole.is_not_null().all():
            return dates(file, raw.with_columns(whole.alias("session")))
        in_utc = text.str.contains(r"(Z|\+00:?00)$") & ~text.str.contains(r"[T ]00:00:00")
        moments = text.str.slice(0, 19).str.replace("T", " ").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        local = _local_dates(raw["symbol"], moments)
        written = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
        days = local.zip_with(in_utc.fill_null(False), written)
    elif stamps.dtype.is_integer():
        days = _from_numbers(raw["symbol"], stamps)
    elif isinstance(stamps.dtype, pl.Datetime):
        midnight = stamps.dt.time() == pl.Series([datetime.min.time()])
        if stamps.dtype.time_zone == "UTC" and not midnight.all():
            days = _local_dates(raw["symbol"], stamps.dt.replace_time_zone(None)).zip_with(~midnight, stamps.dt.date())
        else:
            days = stamps.dt.date()
    elif stamps.dtype == pl.Date:
        days = stamps
    else:
        raise InputRefused(f"{file.name}: column date is {stamps.dtype}, not dates", "Write dates like 2022-01-03")
    if days.null_count():
        raise refused(file, "date", stamps, days.is_null(), "no date like 2022-01-03")
    return days.alias("session")


def _from_numbers(symbols: pl.Series, numbers: pl.Series) -> pl.Series:
    """Dates of numbers like 20220103, or of seconds or milliseconds since 1970."""
    whole = numbers.cast(pl.Int64)
    if whole.is_between(19_000_101, 21_001_231).all():
        return whole.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    milliseconds = whole.zip_with(whole.abs() > 100_000_000_000, whole * 1000)
    return _local_dates(symbols, pl.from_epoch(milliseconds, "ms"))


def _local_dates(symbols: pl.Series, moments: pl.Series) -> pl.Series:
    """Dates, at the exchange of each symbol's market, of naive UTC moments."""
    moment = pl.col("moment").dt.replace_time_zone("UTC")
    zones = {market.name: str(calendar(market.exchange).timezone) for market in MARKETS.values()}
    dates = by_market({name: moment.dt.convert_time_zone(zone).dt.date() for name, zone in zones.items()})
    return pl.DataFrame({"symbol": symbols, "moment": moments}).select(dates.alias("session")).to_series()
