"""Daily bars from Parquet or CSV files, the way people bring their own history.

What belongs here: reading such files, whatever their columns are called. What does not: judging the bars (quality
rules) and undoing splits (on receipt).

A file needs a date, open, high, low, close and volume, and a ticker, unless its name is the ticker (`AAPL.csv`). It may
hold an adjusted close, dividends, splits, capital gains and a currency. A CSV file with `split` in its name and a
ticker, an ex-date and a ratio holds splits that happened after the bars end: what is needed to undo them where the bars
were downloaded later. All files are read in one pass and kept until one of them changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
from trading_pipeline.providers.reading import (
    Tables,
    by_market,
    dates,
    key_of,
    keyed,
    market_of,
    numbers,
    raw_table,
    renamed,
    symbols,
)
from trading_pipeline.sessions import calendar

UNIVERSE = "FILES"
MEMBERS_SCHEMA = pl.Schema(
    {"session": pl.Date, "universe": pl.String, "ticker": pl.String, "sector": pl.String, "source": pl.String}
)

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
        self._tables = Tables(path, "MARKET_DATA_FILES", lambda files: _read_all(path, files, splits), further=splits)

    def covers(self, symbol: str) -> bool:
        """Whether the files hold a bar of `symbol`, in whatever spelling of its class mark (BRK.B, BRK-B)."""
        return key_of(symbol) in self._tables.content().keys

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request, in one pass over the files. See `BarProvider.daily_bars`.

        Bars of days that `now` has not reached are not told. Dividends and gains are those of the dates asked; splits
        are told to the end, because prices divided by a later split can only be read with it. Where a symbol has two
        rows of a day, the first read is in `bars` and the others are in `duplicates`.
        """
        content = self._tables.content()
        today = {name: calendar(market.exchange).local_date(now) for name, market in MARKETS.items()}
        asked = pl.DataFrame(
            {
                "asked": [request.symbol for request in requests],
                "key": [key_of(request.symbol) for request in requests],
                "from": [request.first for request in requests],
                "to": [min(request.last, today[market_of(request.symbol).name]) for request in requests],
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
                if key_of(request.symbol) in known
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
        told = self._tables.content().bars.filter(
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
        spans = self._tables.content().spans.filter(
            (pl.col("market") == market.name) & ~pl.col("symbol").str.starts_with("^")
        )
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
        spans = self._tables.content().spans
        return spans.filter(pl.col("market") == market.name)["key"].to_list()


def _asked_for(rows: pl.DataFrame, asked: pl.DataFrame, wanted: pl.Expr, schema: pl.Schema) -> pl.DataFrame:
    """Rows of the symbols asked for, spelled as asked and sorted; a row that two requests want comes once."""
    found = rows.with_row_index("row").join(asked, on="key").filter(wanted)
    if asked["key"].n_unique() < asked.height:
        found = found.unique(["row", "asked"])
    return found.with_columns(symbol="asked").sort("symbol", "session", "row").select(schema.names())


def _is_splits_file(file: Path) -> bool:
    """Whether it is called one and holds no prices (`split_adjusted.csv` may well be bars)."""
    named = file.suffix.lower() == ".csv" and "split" in file.stem.lower()
    return named and "close" not in {column.strip().lower() for column in raw_table(file).columns}


def _read_all(path: Path, files: Sequence[Path], splits: Path | None) -> _Content:
    later = [file for file in files if file == splits or _is_splits_file(file)]
    of_bars = [file for file in files if file not in later]
    if not of_bars:
        raise InputRefused(f"{path} holds no Parquet or CSV file of bars", "Put bars there, or name another folder")
    told = keyed(pl.concat([_bars_of(file) for file in of_bars]))
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
        .with_columns(market=by_market({market.name: pl.lit(market.name) for market in MARKETS.values()}))
    )
    return _Content(
        keyed(bars),
        keyed(duplicates),
        keyed(actions.unique(maintain_order=True).sort("symbol", "session", "kind")),
        keyed(spans.sort("symbol")),
        frozenset(told["key"].unique()),
    )


def _bars_of(file: Path) -> pl.DataFrame:
    """BARS_SCHEMA and the columns dividend, split and capital_gain of one file."""
    raw = renamed(file, raw_table(file), _ALIASES)
    missing = [name for name in _REQUIRED if name not in raw.columns]
    if missing:
        raise InputRefused(
            f"{file.name} has no column for {' and '.join(missing)}; it has {', '.join(raw.columns)}",
            "Rename its columns to date, ticker, open, high, low, close, volume",
        )
    raw = raw.filter(~pl.all_horizontal(pl.all().is_null()))
    raw = raw.with_columns(pl.lit(None).alias(name) for name in (*_NUMBERS, "currency") if name not in raw.columns)
    raw = raw.with_columns(numbers(file, raw[name]) for name in _NUMBERS)
    raw = raw.with_columns(symbols(file, raw))
    raw = raw.with_columns(session=dates(file, raw))
    own = pl.col("currency").cast(pl.String)
    quoted = by_market({market.name: pl.lit(market.currency) for market in MARKETS.values()})
    return raw.with_columns(currency=own.fill_null(quoted)).select(
        *BARS_SCHEMA.names(), "dividend", "split", "capital_gain"
    )


def _splits_of(file: Path) -> pl.DataFrame:
    """ACTIONS_SCHEMA of a file of later splits."""
    raw = renamed(file, raw_table(file), _SPLIT_ALIASES)
    missing = [name for name in _SPLIT_ALIASES if name not in raw.columns]
    if missing:
        raise InputRefused(
            f"{file.name} lacks columns of a splits file", "Give it the columns ticker, ex_date and ratio"
        )
    raw = raw.with_columns(symbols(file, raw), numbers(file, raw["value"]))
    if not (raw["value"] > 0).all() or raw["value"].null_count():
        raise InputRefused(f"{file.name}: column ratio holds a value that is not above 0", "Give new shares per old")
    return raw.select(
        "symbol",
        dates(file, raw),
        kind=pl.lit("split"),
        value="value",
        currency=by_market({market.name: pl.lit(market.currency) for market in MARKETS.values()}),
    )
