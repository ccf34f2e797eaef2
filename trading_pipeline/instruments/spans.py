"""The registry of instruments: symbols to ids, ids to tickers, tickers to a vendor's spelling."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cached_property
from importlib import resources

import polars as pl

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import MARKETS, Market

SPANS_FILE = "symbol_spans.csv"
SPAN_COLUMNS = ("instrument_id", "symbol", "valid_from", "valid_to", "source")
SPAN_SCHEMA = pl.Schema(
    {
        "instrument_id": pl.String,
        "symbol": pl.String,
        "valid_from": pl.Date,
        "valid_to": pl.Date,
        "source": pl.String,
    }
)

# What each vendor puts between a US symbol and the letter of its share class. Our own spelling is as printed: BRK.B.
CLASS_SEPARATORS = {
    **dict.fromkeys(("yahoo", "tiingo", "alpha_vantage", "rss"), "-"),
    **dict.fromkeys(("files", "simulated", "finnhub", "api_ninjas", "alpaca"), "."),
}
_SHARE_CLASS = re.compile(r"([A-Z]{1,4})[.\-/ ]([A-Z])")


class Instruments:
    """The instruments of one market."""

    def __init__(self, market: Market, spans: pl.DataFrame, origin: str = "the given spans") -> None:
        """`spans` has the columns of `symbol_spans.csv`; `InputRefused` names `origin` and the rows that contradict."""
        self.market = market
        self.spans = spans.select(SPAN_COLUMNS).sort("instrument_id", "valid_from", nulls_last=False)
        self._prefix = f"{market.name}:"
        _refuse_contradictions(self.spans, self._prefix, origin)

    def __repr__(self) -> str:
        return f"Instruments({self.market.name}, {self.spans['instrument_id'].n_unique()} with spans)"

    def spelling(self, symbol: str) -> str:
        """Our own spelling of a symbol: capitals, `BRK.B` for BRK-B, BRK/B and BRK B, and the market's suffix.

        Spellings without a separator (BRKB) are left alone: they may be another company's symbol.
        """
        plain = symbol.strip().upper()
        if plain.startswith("^"):
            return plain
        suffix = self.market.ticker_suffix
        if suffix:
            return plain if plain.endswith(suffix) else f"{plain}{suffix}"
        share_class = _SHARE_CLASS.fullmatch(plain)
        return f"{share_class[1]}.{share_class[2]}" if share_class else plain

    def ids_of(self, symbols: Iterable[str], on: date) -> list[str]:
        """Instrument ids of symbols, spelled our way or a vendor's, as they are used on the day `on`.

        `on` is the day the symbol was said, not the session it was said of: a file downloaded in 2026 says META of a
        bar of 2016, and `on` is the day of the download. A symbol that nobody used on that day belongs to who used it
        last before, or else first after. Symbols without spans are `<market>:<symbol>`.
        """
        asked = pl.DataFrame({"ticker": list(symbols)}, schema={"ticker": pl.String}).with_columns(session=pl.lit(on))
        return self.ids_on(asked)["instrument_id"].to_list()

    def ids_on(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` [session, ticker, …] with `instrument_id`, each ticker as it was used on the row's own session.

        The counterpart of `tickers_on`, for tickers said on the session itself. Rows keep their order.
        """
        pairs = frame.select("session", "ticker").unique(maintain_order=True)
        spelled = {ticker: self.spelling(ticker) for ticker in pairs["ticker"].unique()}
        pairs = pairs.with_columns(symbol=pl.col("ticker").replace_strict(spelled, return_dtype=pl.String))
        day = pl.col("session")
        after = (pl.col("valid_from") > day).fill_null(value=False)
        before = (pl.col("valid_to") <= day).fill_null(value=False)
        users = (
            pairs.join(self.spans, on="symbol")
            .sort(
                pl.when(after).then(2).when(before).then(1).otherwise(0),
                pl.when(after).then(pl.col("valid_from") - day).when(before).then(day - pl.col("valid_to")),
            )
            .unique(["session", "ticker"], keep="first", maintain_order=True)
            .select("session", "ticker", "instrument_id")
        )
        named = pairs.join(users, on=["session", "ticker"], how="left").select(
            "session", "ticker", pl.coalesce("instrument_id", pl.concat_str(pl.lit(self._prefix), "symbol"))
        )
        kept = frame.drop("instrument_id", strict=False)
        return kept.join(named, on=["session", "ticker"], how="left", maintain_order="left")

    def tickers_on(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` [session, instrument_id, …] with `ticker`, the symbol of the instrument on the row's own session.

        Rows keep their order; a `ticker` that was there is replaced. Before its first span an instrument has its first
        symbol, after its end the last one. `UnknownName` where an id is not of this market.
        """
        self._refuse_strangers(frame["instrument_id"])
        steps = [name for name in self._steps.columns if name != "instrument_id"]
        ticker = pl.coalesce("symbol_0", pl.col("instrument_id").str.strip_prefix(self._prefix))
        for step in range(1, len(steps) // 2 + 1):
            ticker = pl.when(pl.col("session") >= pl.col(f"from_{step}")).then(f"symbol_{step}").otherwise(ticker)
        return (
            frame.join(self._steps, on="instrument_id", how="left", maintain_order="left")
            .with_columns(ticker=ticker)
            .drop(steps)
        )

    def provider_symbols(self, names: Sequence[str], provider: str, on: date) -> list[str]:
        """What `provider` calls instruments on the day `on`; `names` are ids (`us:BRK.B`) or symbols (`BRK/B`).

        `on` is the day of the request: vendors file a renamed instrument's whole history under its newest symbol.
        `UnknownName` lists the known providers.
        """
        if provider not in CLASS_SEPARATORS:
            raise UnknownName.of("provider", provider, CLASS_SEPARATORS)
        separator = CLASS_SEPARATORS[provider]
        symbols = [name for name in names if not self._is_id(name)]
        resolved = dict(zip(symbols, self.ids_of(symbols, on), strict=True))
        ids = [resolved.get(name, name) for name in names]
        tickers = self.tickers_on(
            pl.DataFrame({"instrument_id": ids}, schema={"instrument_id": pl.String}).with_columns(session=pl.lit(on))
        )["ticker"]
        if self.market.ticker_suffix:
            return tickers.to_list()
        return [_SHARE_CLASS.sub(rf"\1{separator}\2", ticker) if _is_class(ticker) else ticker for ticker in tickers]

    def provider_symbol(self, name: str, provider: str, on: date) -> str:
        """`provider_symbols` of one instrument."""
        return self.provider_symbols([name], provider, on)[0]

    @cached_property
    def _steps(self) -> pl.DataFrame:
        """One row an instrument with spans: symbol_0, from_1, symbol_1, … ; nulls where it has fewer."""
        numbered = self.spans.with_columns(step=pl.int_range(pl.len()).over("instrument_id"))
        most = max(numbered["step"], default=0)
        return numbered.group_by("instrument_id").agg(
            pl.col("symbol").filter(pl.col("step") == 0).first().alias("symbol_0"),
            *(
                pl.col(column).filter(pl.col("step") == step).first().alias(f"{name}_{step}")
                for step in range(1, most + 1)
                for column, name in (("valid_from", "from"), ("symbol", "symbol"))
            ),
        )

    def _is_id(self, name: str) -> bool:
        return name.startswith(tuple(f"{market}:" for market in MARKETS))

    def _refuse_strangers(self, ids: pl.Series) -> None:
        strangers = ids.filter(~ids.str.starts_with(self._prefix)).unique().sort().to_list()
        if strangers:
            raise UnknownName(
                f"No instrument of {self.market.name} is called {', '.join(strangers[:5])}",
                f"Ids of this market begin with {self._prefix}",
            )


def registry(market: Market, extra_spans: pl.DataFrame | None = None) -> Instruments:
    """The instruments of a market, from the committed spans and `extra_spans` of another source.

    extra_spans: [symbol, first_symbol, valid_from, valid_to], a row for every symbol of an instrument that was renamed;
    `first_symbol` names the instrument. A symbol is taken to hold until the next one begins.
    """
    path = resources.files("trading_pipeline.instruments").joinpath(SPANS_FILE)
    spans = read_spans(path.read_text(encoding="utf-8"), SPANS_FILE)
    spans = spans.filter(pl.col("instrument_id").str.starts_with(f"{market.name}:"))
    if extra_spans is not None and not extra_spans.is_empty():
        spans = pl.concat([spans, _of_renames(market, extra_spans)])
    return Instruments(market, spans, SPANS_FILE)


def read_spans(text: str, origin: str) -> pl.DataFrame:
    """Spans of a CSV with the columns of `symbol_spans.csv`; `InputRefused` names file, line and what is wrong."""
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != SPAN_COLUMNS:
        raise InputRefused(f"{origin}, line 1: the columns are {reader.fieldnames}", f"Write {','.join(SPAN_COLUMNS)}")
    rows = []
    for row in reader:
        try:
            first, last = (date.fromisoformat(row[name]) if row[name] else None for name in ("valid_from", "valid_to"))
        except (ValueError, TypeError) as error:
            raise InputRefused(
                f"{origin}, line {reader.line_num}: {error}", "Write dates as 2022-06-09 or leave them empty"
            ) from None
        if not row["instrument_id"] or not row["symbol"] or not row["source"]:
            raise InputRefused(
                f"{origin}, line {reader.line_num}: instrument_id, symbol or source is empty", "Fill them in"
            )
        if first and last and first >= last:
            raise InputRefused(
                f"{origin}, line {reader.line_num}: {row['symbol']} ends on {last}, not after it begins on {first}",
                "valid_to is the first day no longer under the symbol",
            )
        rows.append((row["instrument_id"], row["symbol"], first, last, row["source"]))
    return pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row")


def _of_renames(market: Market, renames: pl.DataFrame) -> pl.DataFrame:
    begins = pl.col("valid_from")
    return (
        renames.sort("first_symbol", "valid_from")
        .with_columns(
            instrument_id=pl.concat_str(pl.lit(f"{market.name}:"), "first_symbol"),
            valid_to=begins.shift(-1).over("first_symbol"),
            valid_from=pl.when(pl.int_range(pl.len()).over("first_symbol") > 0).then(begins),
            source=pl.lit("provider"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in SPAN_SCHEMA.items())
    )


def _is_class(ticker: str) -> bool:
    return _SHARE_CLASS.fullmatch(ticker) is not None


def _refuse_contradictions(spans: pl.DataFrame, prefix: str, origin: str) -> None:
    """Refuse ids not made of their first symbol, spans of one instrument that do not chain, and symbols used twice."""
    faults = [
        f"{row['instrument_id']} does not begin with {prefix}{row['symbol']}"
        for row in spans.unique("instrument_id", keep="first", maintain_order=True).iter_rows(named=True)
        if not re.fullmatch(rf"{re.escape(prefix + row['symbol'])}(\.\d+)?", row["instrument_id"])
    ]
    chained = spans.with_columns(
        next_from=pl.col("valid_from").shift(-1).over("instrument_id"),
        is_last=pl.int_range(pl.len()).over("instrument_id") == pl.len().over("instrument_id") - 1,
    ).filter(~pl.col("is_last") & ~pl.col("valid_to").eq_missing(pl.col("next_from")))
    faults += [
        f"{row['instrument_id']} is {row['symbol']} until {row['valid_to']}, but its next symbol begins on "
        f"{row['next_from']}"
        for row in chained.iter_rows(named=True)
    ]
    shared = (
        spans.sort("symbol", "valid_from", nulls_last=False)
        .with_columns(
            other=pl.col("instrument_id").shift(-1).over("symbol"),
            other_from=pl.col("valid_from").shift(-1).over("symbol"),
        )
        .filter(
            pl.col("other").is_not_null() & (pl.col("valid_to") <= pl.col("other_from")).fill_null(value=False).not_()
        )
    )
    faults += [
        f"{row['symbol']} is used by {row['instrument_id']} and {row['other']} at once"
        for row in shared.iter_rows(named=True)
    ]
    if faults:
        raise InputRefused(f"{origin} contradicts itself: {'; '.join(faults)}", "Mend the rows named")
