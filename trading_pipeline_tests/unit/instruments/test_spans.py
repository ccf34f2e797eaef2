"""Permanent ids: what stays when a company changes its symbol, and what does not when a symbol changes hands."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.instruments import Instruments, registry
from trading_pipeline.instruments.spans import SPAN_SCHEMA, read_spans
from trading_pipeline.markets import ASX, MARKETS, US

TODAY = date(2026, 11, 20)


@pytest.fixture(scope="module")
def us() -> Instruments:
    return registry(US)


def ticker_on(instruments: Instruments, instrument_id: str, *days: date) -> list[str]:
    frame = pl.DataFrame({"session": days, "instrument_id": [instrument_id] * len(days)})
    return instruments.tickers_on(frame)["ticker"].to_list()


def test_fb_and_meta_are_one_instrument(us: Instruments) -> None:
    assert us.ids_of(["META"], TODAY) == us.ids_of(["FB"], date(2016, 1, 4)) == ["us:FB"]
    assert ticker_on(us, "us:FB", date(2016, 1, 4), date(2022, 6, 8), date(2022, 6, 9)) == ["FB", "FB", "META"]


def test_an_old_symbol_still_finds_its_instrument(us: Instruments) -> None:
    assert us.ids_of(["FB", "ANTM", "WLP", "ELV"], TODAY) == ["us:FB", "us:WLP", "us:WLP", "us:WLP"]


def test_a_symbol_said_before_its_first_use_finds_who_took_it_first(us: Instruments) -> None:
    assert us.ids_of(["META"], date(2016, 1, 4)) == ["us:FB"]


def test_a_company_may_return_to_its_symbol(us: Instruments) -> None:
    days = [date(2023, 6, 6), date(2023, 6, 7), date(2025, 11, 10), date(2025, 11, 11)]
    assert ticker_on(us, "us:FISV", *days) == ["FISV", "FI", "FI", "FISV"]
    assert us.ids_of(["FISV"], TODAY) == us.ids_of(["FI"], date(2024, 1, 2)) == ["us:FISV"]


@pytest.mark.parametrize(
    ("symbol", "earlier", "instrument_then", "instrument_now"),
    [
        ("DELL", date(2012, 1, 3), "us:DELL", "us:DELL.2"),
        ("CEG", date(2011, 1, 3), "us:CEG", "us:CEG.2"),
        ("SNDK", date(2015, 1, 2), "us:SNDK", "us:SNDK.2"),
        ("CB", date(2015, 1, 2), "us:CB", "us:ACE"),
        ("JCI", date(2015, 1, 2), "us:JCI", "us:TYC"),
        ("IR", date(2019, 1, 2), "us:IR", "us:GDI"),
        ("AA", date(2015, 1, 2), "us:AA", "us:AA.2"),
        ("DD", date(2015, 1, 2), "us:DD", "us:DOW"),
        ("DOW", date(2015, 1, 2), "us:DOW", "us:DOW.2"),
        ("UA", date(2015, 1, 2), "us:UA", "us:UA.C"),
        ("AGN", date(2014, 1, 2), "us:AGN", "us:WPI"),
        ("GOOG", date(2014, 4, 2), "us:GOOG", "us:GOOG.2"),
    ],
)
def test_a_symbol_that_changed_hands(
    us: Instruments, symbol: str, earlier: date, instrument_then: str, instrument_now: str
) -> None:
    assert us.ids_of([symbol], earlier) == [instrument_then]
    assert us.ids_of([symbol], TODAY) == [instrument_now]


def test_the_class_a_of_google_kept_its_id_when_the_class_c_took_its_symbol(us: Instruments) -> None:
    assert ticker_on(us, "us:GOOG", date(2014, 4, 2), date(2014, 4, 3)) == ["GOOG", "GOOGL"]
    assert us.ids_of(["GOOGL"], TODAY) == ["us:GOOG"]


@pytest.mark.parametrize("spelling", ["BRK.B", "BRK-B", "BRK/B", "brk.b", " BRK B "])
def test_share_classes_are_one_instrument_however_they_are_spelled(us: Instruments, spelling: str) -> None:
    assert us.ids_of([spelling], TODAY) == ["us:BRK.B"]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [("yahoo", "BRK-B"), ("tiingo", "BRK-B"), ("files", "BRK.B"), ("simulated", "BRK.B")],
)
def test_each_vendor_gets_its_own_spelling(us: Instruments, provider: str, expected: str) -> None:
    assert us.provider_symbol("us:BRK.B", provider, TODAY) == expected
    assert us.provider_symbol("BRK/B", provider, TODAY) == expected


def test_vendors_are_asked_for_the_newest_symbol(us: Instruments) -> None:
    assert us.provider_symbols(["us:FB", "us:UA.C", "us:DELL.2"], "yahoo", TODAY) == ["META", "UA", "DELL"]
    assert us.provider_symbol("us:FB", "yahoo", date(2020, 1, 2)) == "FB"


def test_what_looks_like_a_share_class_but_is_none_is_left_alone(us: Instruments) -> None:
    assert us.provider_symbols(["^VIX", "BTC-USD", "BRKB"], "yahoo", TODAY) == ["^VIX", "BTC-USD", "BRKB"]
    assert us.ids_of(["BRKB"], TODAY) == ["us:BRKB"]


def test_an_unknown_provider_is_refused_with_the_known_ones(us: Instruments) -> None:
    with pytest.raises(UnknownName, match=r"bloomberg.*files, .*simulated, tiingo, yahoo"):
        us.provider_symbol("us:FB", "bloomberg", TODAY)


def test_tickers_of_the_asx_end_in_ax() -> None:
    asx = registry(ASX)
    assert asx.ids_of(["BHP", "bhp.ax"], TODAY) == ["asx:BHP.AX", "asx:BHP.AX"]
    assert asx.provider_symbol("asx:BHP.AX", "yahoo", TODAY) == "BHP.AX"
    assert registry(US).ids_of(["BHP"], TODAY) == ["us:BHP"]


def test_tickers_on_keeps_the_rows_as_they_are_and_refuses_strangers(us: Instruments) -> None:
    frame = pl.DataFrame(
        {
            "session": [date(2024, 1, 2), date(2016, 1, 4), date(2024, 1, 2)],
            "instrument_id": ["us:SPY", "us:FB", "us:FB"],
            "close": [1.0, 2.0, 3.0],
        }
    )
    assert us.tickers_on(frame).drop("ticker").equals(frame)
    assert us.tickers_on(frame)["ticker"].to_list() == ["SPY", "FB", "META"]
    assert us.tickers_on(frame.clear()).columns == [*frame.columns, "ticker"]
    with pytest.raises(UnknownName, match=r"asx:BHP\.AX"):
        us.tickers_on(frame.with_columns(instrument_id=pl.lit("asx:BHP.AX")))


def test_ids_on_undoes_tickers_on_for_every_span(us: Instruments) -> None:
    spans = us.spans.with_columns(session=pl.coalesce("valid_from", pl.col("valid_to").dt.offset_by("-1d")))
    frame = spans.select("session", "instrument_id")
    assert us.ids_on(us.tickers_on(frame)).select("session", "instrument_id").equals(frame)


def test_renames_of_another_source_extend_the_registry() -> None:
    renames = pl.DataFrame(
        {
            "symbol": ["ZZB", "ZZA"],
            "first_symbol": ["ZZA", "ZZA"],
            "valid_from": [date(2020, 3, 2), date(2015, 1, 2)],
            "valid_to": [None, date(2020, 2, 28)],
        }
    )
    extended = registry(US, extra_spans=renames)
    assert extended.ids_of(["ZZB", "ZZA", "META"], TODAY) == ["us:ZZA", "us:ZZA", "us:FB"]
    assert ticker_on(extended, "us:ZZA", date(2014, 1, 2), date(2020, 3, 1), date(2020, 3, 2)) == ["ZZA", "ZZA", "ZZB"]
    assert registry(US, extra_spans=renames.clear()).spans.equals(registry(US).spans)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("us:B,A,,2020-01-02,x\nus:B,C,2020-01-02,,x", "us:B does not begin with us:A"),
        ("us:A,A,,2020-01-02,x\nus:A,C,2020-02-03,,x", "us:A is A until 2020-01-02, but its next symbol begins on"),
        ("us:A,A,,2020-01-02,x\nus:A.2,A,2019-01-02,,x", "A is used by us:A and us:A.2 at once"),
        ("us:A,A,,,x\nus:A.2,A,2019-01-02,,x", "A is used by us:A and us:A.2 at once"),
    ],
)
def test_spans_that_contradict_each_other_are_refused(rows: str, complaint: str) -> None:
    spans = read_spans(f"{','.join(SPAN_SCHEMA)}\n{rows}\n", "spans.csv")
    with pytest.raises(InputRefused, match=complaint):
        Instruments(US, spans, "spans.csv")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("us:A,A,2020-13-01,,x", "spans.csv, line 2: month must be in 1..12"),
        ("us:A,A,2020-01-02,2020-01-02,x", "spans.csv, line 2: A ends on 2020-01-02, not after"),
        ("us:A,,2020-01-02,,x", "spans.csv, line 2: instrument_id, symbol or source is empty"),
    ],
)
def test_a_malformed_line_is_named(row: str, complaint: str) -> None:
    with pytest.raises(InputRefused, match=complaint):
        read_spans(f"{','.join(SPAN_SCHEMA)}\n{row}\n", "spans.csv")
    with pytest.raises(InputRefused, match="line 1: the columns are"):
        read_spans("symbol,since\nA,2020-01-02\n", "spans.csv")


def test_the_committed_spans_agree_with_each_other() -> None:
    for market in MARKETS.values():
        assert registry(market).spans.filter(~pl.col("instrument_id").str.starts_with(f"{market.name}:")).is_empty()
    assert registry(US).spans.height > 200
