"""Daily bars from Parquet or CSV files, the way people bring their own history.

What belongs here: reading such files, whatever their columns are called. What does not: judging the bars (quality
rules) and undoing splits (on receipt).

A file needs a date, open, high, low, close and volume, and a ticker, unless its name is the ticker (`AAPL.csv`). It may
hold an adjusted close, dividends, splits, capital gains and a currency. A CSV file with `split` in its name and a
ticker, an ex-date and a ratio holds splits that happened after the bars end: what is needed to undo them where the bars
were downloaded later. All files are read in one pass and kept until one of them changes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    Basis,
    DailyBarsBatch,
    Failure,
    Progress,
    Quota,
    SymbolRequest,
    no_bars,
    split_duplicates,
)
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.sessions import calendar

UNIVERSE = "FILES"
MEMBERS_SCHEMA = pl.Schema(
    {"session": pl.Date, "universe": pl.String, "ticker": pl.String, "sector": pl.String, "source": pl.String}
)

_SUFFIXES = {".parquet", ".pq", ".csv"}
# Spellings without capitals, spaces and punctuation.
_ALIASES: Final = {
    "session": {"date", "datetime", "timestamp", "session", "day", "time"},
    "symbol": {"ticker", "symbol", "code"},
    "open": {"open"},
    "high": {"high"},
    "low": {"low"},
    "close": {"close"},
    "adj_close": {"adjclose", "adjustedclose"},
    "volume": {"volume", "vol"},
    "dividend": {"dividend", "dividends", "divcash"},
    "split": {"split", "splits", "stocksplit", "stocksplits", "splitfactor"},
    "capital_gain": {"capitalgain", "capitalgains"},
    "currency": {"currency"},
}
_SPLIT_ALIASES: Final = {
    "symbol": _ALIASES["symbol"],
    "session": {"exdate", "date", "session"},
    "value": {"ratio", "split", "splits", "stocksplits", "splitfactor", "value"},
}
_NUMBERS: Final = ("open", "high", "low", "close", "adj_close", "volume", "dividend", "split", "capital_gain")
_REQUIRED: Final = ("session", "open", "high", "low", "close", "volume")
_NO_VALUE: Final = ("", "null", "none", "nan", "na", "n/a", "-")
_CLASS_MARK = re.compile(r"[./ ]")


@dataclass(frozen=True)
class _Content:
    """What the files hold, once read.

    bars, duplicates: BARS_SCHEMA, actions: ACTIONS_SCHEMA, each with `key`, by which symbols are found. spans: one row
    per symbol: key, symbol, market, first, last. keys: those that have a bar.
    """

    bars: pl.DataFrame
    duplicates: pl.DataFrame
    actions: pl.DataFrame
    spans: pl.DataFrame
    keys: frozenset[str]


class Files:
    """A file of daily bars, or a folder of them (not of folders).

    path: the file or the folder. Splits files in the folder are found by their name.
    basis: `split_adjusted` where prices are divided by later splits, as Yahoo and most downloads do; `as_traded` where
        they are what was printed that day.
    splits: a further file of later splits, with ticker, ex_date and ratio.

    Nothing is read before it is needed. `InputRefused` names the file, and the column, that cannot be used.
    """

    name = "files"
    lag = timedelta(0)
    quota = Quota(rate_per_second=1_000_000.0, burst=1_000_000.0, concurrency=1)

    def __init__(self, path: Path, *, basis: Basis = "split_adjusted", splits: Path | None = None) -> None:
        self.path = path
        self.basis = basis
        self._splits = splits
        self._lock = threading.Lock()
        self._read: tuple[object, _Content] | None = None

    def covers(self, symbol: str) -> bool:
        """Whether the files hold a bar of `symbol`, in whatever spelling of its class mark (BRK.B, BRK-B)."""
        return _key(symbol) in self._content().keys

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request, in one pass over the files. See `BarProvider.daily_bars`.

        Bars of days that `now` has not reached are not told. Dividends and gains are those of the dates asked; splits
        are told to the end, because prices divided by a later split can only be read with it. Where a symbol has two
        rows of a day, the first read is in `bars` and the others are in `duplicates`.
        """
        content = self._content()
        today = {name: calendar(market.exchange).local_date(now) for name, market in MARKETS.items()}
        asked = pl.DataFrame(
            {
                "asked": [request.symbol for request in requests],
                "key": [_key(request.symbol) for request in requests],
                "from": [request.first for request in requests],
                "to": [min(request.last, today[_market_of(request.symbol).name]) for request in requests],
            },
            schema={"asked": pl.String, "key": pl.String, "from": pl.Date, "to": pl.Date},
        )
        inside = pl.col("session").is_between("from", "to")
        bars = _asked_for(content.bars, asked, inside, BARS_SCHEMA)
        known, answered = content.keys, set(bars["symbol"].unique())
        failures = [
            Failure(
                request.symbol,
                no_bars(request)
                if _key(request.symbol) in known
                else NotFound(f"{self.path} holds no {request.symbol}"),
            )
            for request in requests
            if request.symbol not in answered
        ]
        if progress is not None:
            progress(len(requests), len(requests))
        lasting = (pl.col("kind") == "split") & (pl.col("session") >= pl.col("from"))
        return DailyBarsBatch(
            bars=bars,
            actions=_asked_for(content.actions, asked, inside | lasting, ACTIONS_SCHEMA),
            failures=failures,
            basis=self.basis,
            duplicates=_asked_for(content.duplicates, asked, inside, BARS_SCHEMA),
        )

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """The last session with a row of the market by `now`; None where the files hold no ticker of it."""
        exchange = calendar(market.exchange)
        told = self._content().bars.filter(
            pl.col("key").is_in(self._keys_of(market)) & (pl.col("session") <= exchange.local_date(now))
        )["session"]
        last = told.max()
        if not isinstance(last, date):
            return None
        return exchange.on_or_before(last)

    def universe_keys(self, market: Market) -> tuple[str, ...]:
        """FILES: whatever the files hold."""
        return (UNIVERSE,)

    def members(self, market: Market, universe: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Every ticker of the market from its first to its last bar: session, universe, ticker, sector, source.

        Indices (`^…`) are nobody's members. The sector is null. `UnknownName` for another universe.
        """
        if universe != UNIVERSE:
            raise UnknownName.of("universe of the files", universe, [UNIVERSE])
        spans = self._content().spans.filter((pl.col("market") == market.name) & ~pl.col("symbol").str.starts_with("^"))
        days = pl.DataFrame({"session": sorted(set(sessions))}, schema={"session": pl.Date})
        return (
            days.join(spans, how="cross")
            .filter(pl.col("session").is_between("first", "last"))
            .select(
                "session",
                universe=pl.lit(UNIVERSE),
                ticker="symbol",
                sector=pl.lit(None, pl.String),
                source=pl.lit(f"files: {self.path.name}"),
            )
            .sort("session", "ticker")
        )

    def _keys_of(self, market: Market) -> list[str]:
        spans = self._content().spans
        return spans.filter(pl.col("market") == market.name)["key"].to_list()

    def _content(self) -> _Content:
        with self._lock:
            try:
                files = self._listed()
                state = [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
            except OSError as error:
                raise InputRefused(
                    f"{error.filename or self.path} cannot be read ({error.strerror})",
                    "Set MARKET_DATA_FILES to a Parquet or CSV file, or to a folder of them",
                ) from error
            if self._read is None or self._read[0] != state:
                self._read = (state, _read_all(self.path, files, self._splits))
            return self._read[1]

    def _listed(self) -> list[Path]:
        """The files to read, the further splits file last."""
        if self.path.is_dir():
            found = (file for file in sorted(self.path.iterdir()) if not file.name.startswith(".") and file.is_file())
            files = [file for file in found if file.suffix.lower() in _SUFFIXES]
        else:
            files = [self.path]
        return [*files, *([self._splits] if self._splits else [])]


def _key(symbol: str) -> str:
    """Spelling by which symbols are compared: BRK.B, BRK/B and brk-b are one."""
    return _CLASS_MARK.sub("-", symbol.strip().upper())


def _market_of(symbol: str) -> Market:
    """The market whose suffix the symbol ends in; the one without a suffix otherwise."""
    return max(
        (market for market in MARKETS.values() if symbol.upper().endswith(market.ticker_suffix)),
        key=lambda market: len(market.ticker_suffix),
    )


def _asked_for(rows: pl.DataFrame, asked: pl.DataFrame, wanted: pl.Expr, schema: pl.Schema) -> pl.DataFrame:
    """Rows of the symbols asked for, spelled as asked and sorted; a row that two requests want comes once."""
    found = rows.with_row_index("row").join(asked, on="key").filter(wanted)
    if asked["key"].n_unique() < asked.height:
        found = found.unique(["row", "asked"])
    return found.with_columns(symbol="asked").sort("symbol", "session", "row").select(schema.names())


def _is_splits_file(file: Path) -> bool:
    """Whether it is called one and holds no prices (`split_adjusted.csv` may well be bars)."""
    named = file.suffix.lower() == ".csv" and "split" in file.stem.lower()
    return named and "close" not in {column.strip().lower() for column in _raw(file).columns}


def _read_all(path: Path, files: Sequence[Path], splits: Path | None) -> _Content:
    later = [file for file in files if file == splits or _is_splits_file(file)]
    of_bars = [file for file in files if file not in later]
    if not of_bars:
        raise InputRefused(f"{path} holds no Parquet or CSV file of bars", "Put bars there, or name another folder")
    told = _keyed(pl.concat([_bars_of(file) for file in of_bars]))
    if told["symbol"].n_unique() > told["key"].n_unique():
        told = told.with_columns(pl.col("symbol").first().over("key"))
    bars, duplicates = split_duplicates(told.select(BARS_SCHEMA.names()))
    happened = {"dividend": pl.col("dividend") > 0, "capital_gain": pl.col("capital_gain") > 0}
    # Yahoo writes 0 where nothing was split, Tiingo 1.
    happened["split"] = (pl.col("split") > 0) & (pl.col("split") != 1)
    actions = pl.concat(
        [
            *(
                told.filter(condition).select("symbol", "session", kind=pl.lit(kind), value=kind, currency="currency")
                for kind, condition in happened.items()
            ),
            *(_splits_of(file) for file in later),
        ]
    )
    spans = (
        bars.group_by("symbol")
        .agg(first=pl.col("session").min(), last=pl.col("session").max())
        .with_columns(market=_by_market({market.name: pl.lit(market.name) for market in MARKETS.values()}))
    )
    return _Content(
        _keyed(bars),
        _keyed(duplicates),
        _keyed(actions.unique(maintain_order=True).sort("symbol", "session", "kind")),
        _keyed(spans.sort("symbol")),
        frozenset(told["key"].unique()),
    )


def _keyed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(key=pl.col("symbol").str.replace_all(_CLASS_MARK.pattern, "-"))


def _by_market(values: dict[str, pl.Expr]) -> pl.Expr:
    """For each row the value of the market that its symbol belongs to; the same rule as `_market_of`."""
    suffixed = sorted((market for market in MARKETS.values()), key=lambda market: len(market.ticker_suffix))
    return reduce(
        lambda otherwise, market: (
            pl.when(pl.col("symbol").str.ends_with(market.ticker_suffix)).then(values[market.name]).otherwise(otherwise)
        ),
        suffixed,
        pl.lit(None),
    )


def _bars_of(file: Path) -> pl.DataFrame:
    """BARS_SCHEMA and the columns dividend, split and capital_gain of one file."""
    raw = _rename(file, _raw(file), _ALIASES)
    missing = [name for name in _REQUIRED if name not in raw.columns]
    if missing:
        raise InputRefused(
            f"{file.name} has no column for {' and '.join(missing)}; it has {', '.join(raw.columns)}",
            "Rename its columns to date, ticker, open, high, low, close, volume",
        )
    raw = raw.filter(~pl.all_horizontal(pl.all().is_null()))
    raw = raw.with_columns(pl.lit(None).alias(name) for name in (*_NUMBERS, "currency") if name not in raw.columns)
    raw = raw.with_columns(_number(file, raw[name]) for name in _NUMBERS)
    raw = raw.with_columns(_symbols(file, raw))
    raw = raw.with_columns(session=_sessions(file, raw))
    own = pl.col("currency").cast(pl.String)
    quoted = _by_market({market.name: pl.lit(market.currency) for market in MARKETS.values()})
    return raw.with_columns(currency=own.fill_null(quoted)).select(
        *BARS_SCHEMA.names(), "dividend", "split", "capital_gain"
    )


def _splits_of(file: Path) -> pl.DataFrame:
    """ACTIONS_SCHEMA of a file of later splits."""
    raw = _rename(file, _raw(file), _SPLIT_ALIASES)
    missing = [name for name in _SPLIT_ALIASES if name not in raw.columns]
    if missing:
        raise InputRefused(
            f"{file.name} lacks columns of a splits file", "Give it the columns ticker, ex_date and ratio"
        )
    raw = raw.with_columns(_symbols(file, raw), _number(file, raw["value"]))
    if not (raw["value"] > 0).all() or raw["value"].null_count():
        raise InputRefused(f"{file.name}: column ratio holds a value that is not above 0", "Give new shares per old")
    return raw.select(
        "symbol",
        _sessions(file, raw),
        kind=pl.lit("split"),
        value="value",
        currency=_by_market({market.name: pl.lit(market.currency) for market in MARKETS.values()}),
    )


def _raw(file: Path) -> pl.DataFrame:
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


def _rename(file: Path, frame: pl.DataFrame, aliases: dict[str, set[str]]) -> pl.DataFrame:
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


def _refuse(file: Path, column: str, values: pl.Series, why: str) -> InputRefused:
    return InputRefused(
        f"{file.name}: column {column} holds {values[0]!r}, which is {why}", "Mend it, or take the row out"
    )


def _number(file: Path, values: pl.Series) -> pl.Series:
    """Float64, not-a-number and infinite values as null."""
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        values = text.set(text.str.to_lowercase().is_in(_NO_VALUE), None)
    elif not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise InputRefused(f"{file.name}: column {values.name} is {values.dtype}, not numbers", "Write it as numbers")
    numbers = values.cast(pl.Float64, strict=False)
    odd = values.filter(numbers.is_null() & values.is_not_null())
    if len(odd):
        raise _refuse(file, values.name, odd, "no number")
    return numbers.set(~numbers.is_finite(), None)


def _symbols(file: Path, raw: pl.DataFrame) -> pl.Series:
    """Tickers in capitals; the name of the file where it has no column for them."""
    if "symbol" not in raw.columns:
        return pl.Series("symbol", [file.stem.upper()] * raw.height, dtype=pl.String)
    symbols = raw["symbol"].cast(pl.String).str.strip_chars().str.to_uppercase()
    blank = symbols.is_null() | (symbols == "")
    if blank.any():
        row = blank.arg_true()[0] + 1
        raise InputRefused(f"{file.name}: column ticker is empty in row {row}", "Fill it in, or take the row out")
    return symbols


def _sessions(file: Path, raw: pl.DataFrame) -> pl.Series:
    """Local dates of the exchange.

    A date is taken as it is written, whatever its offset. Only a moment written in UTC and not at midnight, and a count
    of seconds, are moments: they are turned into the exchange's local date.
    """
    stamps = raw["session"]
    if stamps.dtype == pl.String:
        text = stamps.str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        if len(whole) and whole.is_not_null().all():
            return _sessions(file, raw.with_columns(whole.alias("session")))
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
    odd = stamps.filter(days.is_null())
    if len(odd):
        raise _refuse(file, "date", odd, "no date like 2022-01-03")
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
    dates = _by_market({name: moment.dt.convert_time_zone(zone).dt.date() for name, zone in zones.items()})
    return pl.DataFrame({"symbol": symbols, "moment": moments}).select(dates.alias("session")).to_series()
