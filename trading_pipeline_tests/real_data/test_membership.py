"""Our membership against independent records of the S&P 500 and the NASDAQ-100, on ten dates each."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline import universes
from trading_pipeline.instruments import registry
from trading_pipeline.markets import US

pytestmark = pytest.mark.real_data

# How the other record spells bankrupt companies it kept under their last symbol.
_AFTER_BANKRUPTCY = {"BTUUQ": "BTU", "ANRZQ": "ANR", "EKDKQ": "EK", "RSHCQ": "RSH", "SUNEQ": "WFR"}


def other_sp500(folder: Path, day: date) -> set[str]:
    spans = pl.read_csv(folder / "membership" / "sp500_spans.csv", try_parse_dates=True)
    inside = spans.filter((pl.col("start_date") <= day) & (pl.col("end_date").is_null() | (pl.col("end_date") > day)))
    return set(registry(US).ids_of([_AFTER_BANKRUPTCY.get(name, name) for name in inside["ticker"]], day))


def other_nasdaq100(folder: Path, day: date) -> set[str]:
    """Members on 1 January, then the year's dated differences and unions; read as text, since ON is a ticker."""
    path = folder / "membership" / "nasdaq100" / f"n100-ticker-changes-{day.year}.yaml"
    held: set[str] = set()
    change, section = date.min, "tickers_on_Jan_1"
    for line in path.read_text().splitlines():
        if dated := re.search(r"(\d{4}-\d{2}-\d{2})['\"]?:", line):
            change = date.fromisoformat(dated[1])
        elif named := re.match(r"\s*(difference|union|tickers_on_Jan_1):", line):
            section = named[1]
        elif (item := re.match(r"\s*-\s*['\"]?([A-Z.]+)['\"]?", line)) and change <= day:
            (held.discard if section == "difference" else held.add)(item[1])
    return set(registry(US).ids_of(sorted(held), day))


def jaccard(ours: set[str], theirs: set[str]) -> float:
    return len(ours & theirs) / len(ours | theirs)


def ours(universe: str, day: date) -> set[str]:
    return set(universes.members(US, universe, [day])["instrument_id"])


@pytest.mark.parametrize(
    ("day", "least"),
    [
        # Until 2016 the record files ACE, Actavis and Tyco under the companies whose names they took.
        (date(2010, 6, 30), 0.985),
        (date(2012, 6, 29), 0.99),
        (date(2014, 1, 2), 0.99),
        (date(2015, 6, 30), 0.985),
        (date(2016, 3, 14), 0.99),
        (date(2017, 9, 29), 1.0),
        (date(2019, 6, 28), 1.0),
        (date(2020, 12, 21), 1.0),
        (date(2022, 12, 30), 1.0),
        (date(2024, 6, 28), 1.0),
    ],
)
def test_the_sp500_agrees_with_another_record(real_data: Path, day: date, least: float) -> None:
    mine, theirs = ours("SPX500", day), other_sp500(real_data, day)
    assert jaccard(mine, theirs) >= least, f"ours only {sorted(mine - theirs)}, theirs only {sorted(theirs - mine)}"


@pytest.mark.parametrize(
    ("day", "differ"),
    [
        (date(2015, 6, 30), {"us:CMCSK"}),
        (date(2016, 3, 14), set()),
        (date(2017, 1, 3), set()),
        (date(2017, 9, 29), set()),
        (date(2018, 12, 24), set()),
        (date(2019, 6, 28), set()),
        (date(2020, 12, 21), set()),
        (date(2022, 12, 30), set()),
        (date(2024, 6, 28), set()),
        (date(2025, 9, 30), set()),
    ],
)
def test_the_nasdaq100_agrees_with_another_record(real_data: Path, day: date, differ: set[str]) -> None:
    """The record lacks Comcast's second share class of 2014-12-22 to 2015-12-15."""
    assert ours("NASDAQ100", day) ^ other_nasdaq100(real_data, day) == differ


def test_sectors_agree_with_another_record(real_data: Path) -> None:
    theirs = pl.read_csv(real_data / "membership" / "sp500_current_with_sectors.csv").select("Symbol", "GICS Sector")
    mine = universes.members(US, "SPX500", [date(2025, 9, 30)]).select("ticker", "sector")
    both = mine.join(theirs, left_on="ticker", right_on="Symbol")
    assert both.height > 480
    assert both.filter(pl.col("sector") != pl.col("GICS Sector")).rows() == []
