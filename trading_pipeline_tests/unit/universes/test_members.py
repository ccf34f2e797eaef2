"""Point-in-time membership: who was in an index then, under the ticker of then."""

from __future__ import annotations

import re
from datetime import date

import polars as pl
import pytest

from trading_pipeline import universes
from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.instruments import registry
from trading_pipeline.markets import ASX, MARKETS, US, Market
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import UNIVERSE_MEMBERS
from trading_pipeline.universes import UNIVERSES
from trading_pipeline.universes.members import read_sectors, read_spans

HEADER = "ticker,valid_from,valid_to,source"


def tickers(universe: str, day: date, market: Market = US) -> set[str]:
    return set(universes.members(market, universe, [day])["ticker"])


@pytest.mark.parametrize(
    ("universe", "day", "inside", "outside"),
    [
        ("SPX500", date(2010, 2, 12), {"BNI", "GOOG", "JCI"}, {"BRK.B", "META", "GOOGL"}),
        ("SPX500", date(2010, 2, 16), {"BRK.B"}, {"BNI"}),
        ("SPX500", date(2014, 1, 2), {"FB", "GOOG", "WAG", "TYC", "ACE", "CB"}, {"META", "GOOGL", "TSLA"}),
        ("SPX500", date(2014, 4, 3), {"GOOG", "GOOGL"}, set()),
        ("SPX500", date(2016, 3, 14), {"FB", "PCLN", "WLTW", "WRK", "CB", "FOXA", "AA"}, {"ACE", "BKNG", "TSLA"}),
        ("SPX500", date(2017, 9, 1), {"DWDP"}, {"DD", "DOW"}),
        ("SPX500", date(2019, 6, 28), {"DD", "DOW", "CTVA", "FRC", "UTX"}, {"DWDP", "RTX"}),
        ("SPX500", date(2020, 12, 18), {"AIV"}, {"TSLA"}),
        ("SPX500", date(2020, 12, 21), {"TSLA", "FB", "RTX", "HWM"}, {"AIV", "UTX", "ARNC"}),
        ("SPX500", date(2022, 6, 8), {"FB"}, {"META"}),
        ("SPX500", date(2022, 6, 9), {"META"}, {"FB"}),
        ("SPX500", date(2023, 3, 14), {"SIVB", "SBNY", "FISV"}, {"FI"}),
        ("SPX500", date(2023, 3, 15), {"PODD", "BG"}, {"SIVB", "SBNY"}),
        ("SPX500", date(2024, 6, 28), {"FI", "COR", "WBA", "CRWD"}, {"FISV", "ABC"}),
        ("NASDAQ100", date(2010, 6, 30), {"RIMM", "PCLN", "NWSA"}, {"FB", "TSLA"}),
        ("NASDAQ100", date(2013, 7, 15), {"TSLA", "FB", "FOXA"}, {"NWSA", "ORCL"}),
        ("NASDAQ100", date(2017, 9, 29), {"CTRP", "QVCA", "FOX"}, {"TCOM"}),
        ("NASDAQ100", date(2022, 6, 9), {"META"}, {"FB"}),
        ("MEGA_CAP", date(2014, 1, 2), {"AAPL"}, {"MSFT", "NVDA"}),
        ("MEGA_CAP", date(2019, 1, 2), {"FB", "BRK.B"}, {"TSLA", "NVDA"}),
    ],
)
def test_who_was_a_member(universe: str, day: date, inside: set[str], outside: set[str]) -> None:
    found = tickers(universe, day)
    assert inside <= found
    assert not outside & found


def test_an_instrument_stays_the_same_member_when_its_ticker_changes() -> None:
    rows = universes.members(US, "SPX500", [date(2022, 6, 8), date(2022, 6, 9)])
    meta = rows.filter(pl.col("instrument_id") == "us:FB")
    assert meta["ticker"].to_list() == ["FB", "META"]


@pytest.mark.parametrize("universe", UNIVERSES.values(), ids=lambda universe: universe.key)
def test_every_session_has_a_believable_number_of_members_and_each_once(universe: universes.Universe) -> None:
    market = MARKETS[universe.market]
    exchange = calendar(market.exchange)
    rows = universes.members(market, universe.key, exchange.between(universe.known_from, universe.as_of))
    counts = rows.group_by("session").len()["len"]
    assert universe.lines[0] <= counts.min()  # type: ignore[operator]
    assert counts.max() <= universe.lines[1]  # type: ignore[operator]
    assert UNIVERSE_MEMBERS.conform(rows).height == rows.height
    assert not rows.select("session", "ticker").is_duplicated().any()


def test_the_universes_of_the_markets_are_seeded() -> None:
    for market in MARKETS.values():
        assert set(market.universes) == set(universes.known(market))


def test_a_range_is_its_sessions_one_by_one() -> None:
    days = calendar("XNYS").between(date(2022, 6, 1), date(2022, 6, 30))
    one_by_one = pl.concat([universes.members(US, "SPX500", [day]) for day in days])
    assert universes.members(US, "SPX500", days[::-1]).equals(one_by_one)


def test_before_it_is_known_a_universe_has_no_members_and_says_why() -> None:
    early, late = date(2020, 6, 1), date(2026, 6, 1)
    rows = universes.members(ASX, "ASX200", [early, late])
    assert rows["session"].unique().to_list() == [late]
    assert universes.members(ASX, "ASX200", [early]).is_empty()
    reason = universes.reason_without_members(ASX, "ASX200", [early, late])
    assert reason is not None
    assert re.search(r"ASX200 has no members on 1 of .*2020-06-01.*known from 2026-05-19 only", reason)
    assert universes.reason_without_members(ASX, "ASX200", [late]) is None


def test_an_unknown_universe_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"universe of us named 'RUSSELL'.*MEGA_CAP, NASDAQ100, SPX500"):
        universes.members(US, "RUSSELL", [date(2020, 1, 2)])
    with pytest.raises(UnknownName, match=r"Known: ASX200"):
        universes.members(ASX, "SPX500", [date(2020, 1, 2)])


def test_sectors_are_gics_sectors_and_known_for_nearly_everyone() -> None:
    rows = universes.members(US, "SPX500", [date(2012, 6, 29), date(2024, 6, 28)])
    assert set(rows["sector"].drop_nulls().unique()) == {
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
    }
    assert rows["sector"].null_count() == 0
    known = dict(rows.select("ticker", "sector").iter_rows())
    assert [known[ticker] for ticker in ("META", "XOM", "JPM")] == ["Communication Services", "Energy", "Financials"]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("AAPL,2014-01-02,2013-01-02,x", "seed.csv, line 2: AAPL ends on 2013-01-02, not after it begins"),
        ("AAPL,2014-02-30,,x", "seed.csv, line 2: day is out of range"),
        ("AAPL,,,x", "seed.csv, line 2: Invalid isoformat"),
        (",2014-01-02,,x", "seed.csv, line 2: ticker or source is empty"),
        ("META,2014-01-02,,x", "tickers nobody used on their valid_from .line 2: META was FB on 2014-01-02"),
        ("AAPL,2014-01-02,,x\nAAPL,2015-01-02,,x", "seed.csv, lines 2 and 3: us:AAPL is a member twice at once"),
        ("FB,2014-01-02,2023-01-03,x\nMETA,2022-12-01,,x", "lines 2 and 3: us:FB is a member twice at once"),
        ("AAPL,2016-01-04,,x", "seed.csv has 0 members on 2014-01-02, not 1 to 40"),
    ],
)
def test_a_seed_that_cannot_be_right_is_refused_with_file_and_line(rows: str, complaint: str) -> None:
    with pytest.raises(InputRefused, match=complaint):
        read_spans(f"{HEADER}\n{rows}\n", "seed.csv", UNIVERSES["MEGA_CAP"], registry(US))
    with pytest.raises(InputRefused, match="line 1: the columns are"):
        read_spans("symbol\nAAPL\n", "seed.csv", UNIVERSES["MEGA_CAP"], registry(US))


def test_a_sector_listed_twice_or_missing_is_refused() -> None:
    header = "instrument_id,sector,source\nus:A,Energy,x\n"
    with pytest.raises(InputRefused, match=r"sectors\.csv, line 3: us:A is listed twice"):
        read_sectors(f"{header}us:A,Energy,x\n", "sectors.csv")
    with pytest.raises(InputRefused, match=r"sectors\.csv, line 3: us:B has no sector"):
        read_sectors(f"{header}us:B,,x\n", "sectors.csv")


def test_coverage_is_the_share_of_members_with_a_bar() -> None:
    first, second = date(2024, 1, 2), date(2024, 1, 3)
    members = pl.DataFrame(
        {
            "session": [first] * 4 + [second] * 2 + [first],
            "universe": ["SPX500"] * 6 + ["FILES"],
            "instrument_id": ["us:A", "us:B", "us:C", "us:D", "us:A", "us:B", "us:A"],
        }
    )
    bars = pl.DataFrame(
        {"session": [first, first, first, second], "instrument_id": ["us:A", "us:A", "us:B", "us:Z"], "close": 1.0}
    )
    coverage = universes.survivorship_coverage(members, bars)
    assert coverage.select("universe", "session", "members", "with_bar", "coverage", "sufficient").rows() == [
        ("FILES", first, 1, 1, 1.0, True),
        ("SPX500", first, 4, 2, 0.5, False),
        ("SPX500", second, 2, 0, 0.0, False),
    ]
    assert universes.survivorship_coverage(members, bars, {"SPX500": 0.0})["sufficient"].all()


def test_the_seeds_are_what_the_generator_writes() -> None:
    pytest.importorskip("index_constitution", reason="development dependency")
    pytest.importorskip("pytickersymbols", reason="development dependency")
    from trading_pipeline.universes import generate

    us = registry(US)
    for universe in generate.PACKAGE_INDEX:
        committed = (generate.SEEDS / f"{universe}.csv").read_text().splitlines()[1:]
        assert [f"{t},{first},{last or ''},{s}" for t, first, last, s in generate.spans_of(universe, us)] == committed
    committed = (generate.SEEDS / "sectors.csv").read_text().splitlines()[1:]
    assert [",".join(row) for row in generate.sector_rows(us)] == committed
