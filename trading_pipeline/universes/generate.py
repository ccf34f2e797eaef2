"""Write the committed membership seeds from the packages index-constitution and pytickersymbols, and `corrections.csv`.

Run by hand: `python -m trading_pipeline.universes.generate`. Needs the development dependencies. What belongs here:
taking facts out of the packages. What does not: facts of our own, which live in `seeds/corrections.csv` (membership,
with the reason) and `seeds/sectors_known.csv` (sectors). `MEGA_CAP.csv` and `ASX200.csv` are kept by hand.

The S&P 500 and NASDAQ-100 histories of index-constitution name every company by the last ticker it had as a member. A
row of a seed names it by the ticker of its `valid_from`, found through the instrument registry. Rows are half-open, and
begin at FIRST_DAY where the package's own beginning is earlier: many of those are place-holders (1976-07-01).

pytickersymbols mixes several sector schemes; where it names exactly one GICS sector that is the right one (480 of 480
current members of the S&P 500 were compared).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from trading_pipeline.instruments import Instruments, registry
from trading_pipeline.markets import US

SEEDS = Path(__file__).parent / "seeds"
FIRST_DAY = date(2010, 1, 4)
PACKAGE_INDEX = {"SPX500": "sp500", "NASDAQ100": "nasdaq100"}
SOURCE = "index-constitution"
GICS_SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)

Span = tuple[str, date, date | None, str]


def package_spans(universe: str) -> Iterator[tuple[str, date, date | None]]:
    """(symbol, opt-in, opt-out or None) of the package's history that reach past FIRST_DAY."""
    import index_constitution

    history = index_constitution.history(PACKAGE_INDEX[universe])
    for row in pl.from_pandas(history).iter_rows(named=True):
        first = row["opt-in"].date()
        last = row["opt-out"].date() if row["opt-out"] else None
        if last is None or last > FIRST_DAY:
            yield row["symbol"], first, last


def corrections(universe: str) -> tuple[dict[tuple[str, date], list[Span]], list[Span]]:
    """What replaces rows of the package, by (symbol, opt-in), and what it lacks altogether."""
    replaced: dict[tuple[str, date], list[Span]] = {}
    added: list[Span] = []
    with (SEEDS / "corrections.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["universe"] != universe:
                continue
            spans: list[Span] = []
            if row["ticker"]:
                last = date.fromisoformat(row["valid_to"]) if row["valid_to"] else None
                spans = [(row["ticker"], date.fromisoformat(row["valid_from"]), last, "correction")]
            if row["package_symbol"]:
                key = (row["package_symbol"], date.fromisoformat(row["package_from"]))
                replaced.setdefault(key, []).extend(spans)
            else:
                added += spans
    return replaced, added


def spans_of(universe: str, instruments: Instruments) -> list[Span]:
    """(ticker on valid_from, valid_from, valid_to or None, source) of every membership, oldest ticker first."""
    replaced, spans = corrections(universe)
    by_id: dict[str, list[tuple[date, date | None, str]]] = {}
    for symbol, first, last in package_spans(universe):
        if (symbol, first) in replaced:
            spans += replaced.pop((symbol, first))
            continue
        until = last - timedelta(days=1) if last else date.max
        by_id.setdefault(instruments.ids_of([symbol], until)[0], []).append((max(first, FIRST_DAY), last, SOURCE))
    if replaced:
        raise SystemExit(f"{universe}: the package has no rows {sorted(replaced)}; mend corrections.csv")
    for ticker, first, last, source in spans:
        by_id.setdefault(instruments.ids_of([ticker], first)[0], []).append((first, last, source))
    rows: list[tuple[str, date, date | None, str]] = []
    for instrument_id, unsorted in by_id.items():
        merged: list[tuple[date, date | None, str]] = []
        for first, last, source in sorted(unsorted, key=lambda span: span[0]):
            if merged and merged[-1][1] == first:  # removed and added again on one day: a rename told as a change
                merged[-1] = (merged[-1][0], last, merged[-1][2])
            else:
                merged.append((first, last, source))
        rows += [(instrument_id, *span) for span in merged]
    frame = instruments.tickers_on(
        pl.DataFrame(
            {"instrument_id": [row[0] for row in rows], "session": [row[1] for row in rows]},
            schema={"instrument_id": pl.String, "session": pl.Date},
        )
    )
    return sorted((ticker, *row[1:]) for ticker, row in zip(frame["ticker"], rows, strict=True))


def package_sectors() -> dict[str, str]:
    """GICS sector of each current S&P 500 company, where pytickersymbols names exactly one."""
    from pytickersymbols import PyTickerSymbols

    sectors = {}
    for stock in PyTickerSymbols().get_stocks_by_index("S&P 500"):
        named = sorted(set(stock.get("industries", [])) & set(GICS_SECTORS))
        if len(named) == 1:
            sectors[stock["symbol"]] = named[0]
    return sectors


def sector_rows(instruments: Instruments) -> list[tuple[str, str, str]]:
    """(instrument_id, sector, source); what is known by hand goes before the package."""
    named = package_sectors()
    ids = instruments.ids_of(named, date.max)
    rows = {key: (sector, "pytickersymbols") for key, sector in zip(ids, named.values(), strict=True)}
    with (SEEDS / "sectors_known.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["sector"] not in GICS_SECTORS:
                raise SystemExit(f"sectors_known.csv: {row['instrument_id']} has {row['sector']!r}, not a GICS sector")
            rows[row["instrument_id"]] = (row["sector"], "public record")
    return sorted((instrument_id, *rest) for instrument_id, rest in rows.items())


def _write(name: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with (SEEDS / name).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    sys.stdout.write(f"{name}: {len(rows)} rows\n")


def main() -> None:
    """Write SPX500.csv, NASDAQ100.csv and sectors.csv beside this module."""
    instruments = registry(US)
    for universe in PACKAGE_INDEX:
        spans = [(ticker, first, last or "", source) for ticker, first, last, source in spans_of(universe, instruments)]
        _write(f"{universe}.csv", ("ticker", "valid_from", "valid_to", "source"), [*spans])
    _write("sectors.csv", ("instrument_id", "sector", "source"), [*sector_rows(instruments)])


if __name__ == "__main__":
    main()
