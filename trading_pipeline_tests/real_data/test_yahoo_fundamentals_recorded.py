"""Fundamentals recorded from Yahoo in 2021 and 2025, replayed over loopback HTTP through the real yfinance client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest
from curl_cffi import requests as curl

from trading_pipeline import tables
from trading_pipeline.markets import US
from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA, STATEMENTS_SCHEMA, ReferenceBatch
from trading_pipeline.providers.throttle import TokenBucket
from trading_pipeline.providers.yahoo_fundamentals import YahooFundamentals
from trading_pipeline.providers.yahoo_fundamentals.snapshot import FIELDS, MODULES, SCALES
from trading_pipeline.research.fundamentals import judge
from trading_pipeline.sessions import calendar

pytestmark = pytest.mark.real_data

NOW = datetime(2025, 2, 24, 15, 0, tzinfo=UTC)
LIVE = date(2025, 2, 24)
SUMMARY, SERIES = "/v10/finance/quoteSummary/", "/ws/fundamentals-timeseries/v1/finance/timeseries/"
# What a column is made of where it is not a field as it stands.
DERIVED = {
    "asset_type", "shares_outstanding", "free_cash_flow_yield", "dividend_yield", "nav_premium",
    "credit_share_investment_grade", "holdings", "sector_weights",
}  # fmt: skip


class Recorded:
    """Yahoo as it was recorded in one year: each summary cut to the modules asked for, each series to its types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bodies: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[str] = []
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, content = recorded.answer(unquote(parts.path), parse_qs(parts.query))
                self.send_response(status)
                self.send_header("Content-Type", "application/json;charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def read(self, name: str) -> tuple[int, Any]:
        response = json.loads((self.folder / f"{name}.json").read_text())["response"]
        return response["status"], response["bodyJson"]

    def put(self, path: str, *names: str) -> None:
        self.bodies[path] = [self.read(name) for name in names]

    def modules(self, symbol: str) -> dict[str, Any]:
        """What was recorded of the modules that are asked for."""
        ((_, body),) = self.bodies[SUMMARY + symbol]
        (result,) = body["quoteSummary"]["result"]
        return {name: result[name] for name in MODULES if name in result}

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        self.asked.append(path)
        if path.startswith(SERIES):
            wanted = set(query["type"][0].split(","))
            known = [body for _, body in self.bodies.get(path, [])]
            series = [one for body in known for one in body["timeseries"]["result"] if one["meta"]["type"][0] in wanted]
            return 200, json.dumps({"timeseries": {"result": series, "error": None}}).encode()
        if path not in self.bodies:
            return 200, b"crumb"
        wanted = set(query["modules"][0].split(","))
        for status, body in self.bodies[path]:
            result = body["quoteSummary"]["result"]
            if status != 200 or wanted & set(result[0]):
                if status == 200:
                    result = [{name: module for name, module in result[0].items() if name in wanted}]
                return status, json.dumps({"quoteSummary": {**body["quoteSummary"], "result": result}}).encode()
        raise AssertionError(f"nothing recorded for {path} {sorted(wanted)}")

    def provider(self) -> YahooFundamentals:
        local = f"http://127.0.0.1:{self.server.server_port}"

        class LoopbackSession(curl.Session):
            def request(self, method, url, **options):
                return super().request(method, re.sub(r"^https://[^/]+", local, url), **options)

        return YahooFundamentals(session=LoopbackSession(impersonate="chrome"), throttle=TokenBucket(1000, 1000))

    def snapshots(self, *symbols: str) -> ReferenceBatch:
        return self.provider().fundamentals(US, symbols, [LIVE], now=NOW)


@pytest.fixture
def recorded(real_data: Path) -> Iterator[Callable[[int], Recorded]]:
    servers = []

    def of(year: int) -> Recorded:
        servers.append(Recorded(real_data / "yahoo_http" / str(year)))
        return servers[-1]

    yield of
    for each in servers:
        each.server.shutdown()
        each.server.server_close()


def every_symbol(folder: Path) -> list[str]:
    prefix = "quoteSummary-all-"
    return [file.stem.removeprefix(prefix) for file in sorted(folder.glob(f"{prefix}*.json"))]


@pytest.fixture
def year(request: pytest.FixtureRequest, recorded: Callable[[int], Recorded]) -> Recorded:
    told = recorded(request.param)
    for symbol in every_symbol(told.folder):
        told.put(SUMMARY + symbol, f"quoteSummary-all-{symbol}")
    return told


both_years = pytest.mark.parametrize("year", [2021, 2025], indirect=True)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


@both_years
def test_every_recorded_symbol_is_told_in_one_typed_row(year):
    symbols = every_symbol(year.folder)
    batch = year.snapshots(*symbols)
    assert not batch.failures and batch.answered == tuple(symbols) and len(symbols) >= 9
    assert batch.rows.schema == FUNDAMENTALS_SCHEMA and batch.rows["symbol"].to_list() == symbols
    assert set(batch.rows["session"]) == {LIVE} and set(batch.rows["available_at"]) == {NOW}
    shares = batch.rows.filter((pl.col("asset_type") == "stock") & ~pl.col("payload").str.contains('"pegRatio"'))
    assert len([path for path in year.asked if path.startswith(SUMMARY)]) == len(symbols)
    assert len([path for path in year.asked if path.startswith(SERIES)]) <= shares.height, "only for a missing PEG"
    assert batch.http_calls == len(year.asked)


@both_years
def test_no_field_is_lost_and_none_is_changed(year):
    """Each field of each module is in the payload as it was received, or in the column it states."""
    symbols = every_symbol(year.folder)
    column_of = {path: column for column, paths in FIELDS.items() for path in paths}
    in_columns = 0
    for row in year.snapshots(*symbols).rows.iter_rows(named=True):
        payload = dict(leaves(json.loads(row["payload"])))
        told = dict(leaves(year.modules(row["symbol"])))
        assert set(payload) <= set(told), "nothing is made up"
        for path, value in told.items():
            if path in payload:
                assert payload[path] == value and type(payload[path]) is type(value)
            else:
                column = column_of[path]
                expected = value * SCALES[column] if column in SCALES else value
                assert row[column] == expected, (row["symbol"], path)
                in_columns += 1
    assert in_columns > 15 * len(symbols)


@both_years
def test_no_column_is_invented(year):
    """A column is null where no field states it, and what one states otherwise."""
    for row in year.snapshots(*every_symbol(year.folder)).rows.iter_rows(named=True):
        told = dict(leaves(year.modules(row["symbol"])))
        for column in tables.RECEIVED_FUNDAMENTALS.names:
            if column not in row or column in DERIVED or column not in FIELDS:
                continue
            stated = [told[path] for path in FIELDS[column] if told.get(path) is not None]
            if not stated:
                assert row[column] is None or (column, row[column]) == ("currency", "XXX"), (row["symbol"], column)
            else:
                assert row[column] is not None, (row["symbol"], column)
        key = "defaultKeyStatistics"
        shares = [told.get((key, field)) for field in ("sharesOutstanding", "impliedSharesOutstanding")]
        assert row["shares_outstanding"] in shares
        if told.get(("summaryDetail", "navPrice")) is None:
            assert row["nav_premium"] is None


@both_years
def test_units_agree_with_each_other(year):
    """Fractions are fractions: each ratio is near to what other columns of the row make it."""
    rows = year.snapshots(*every_symbol(year.folder)).rows.filter(pl.col("financial_currency").is_null())
    paying = rows.filter(pl.col("dividend_yield") > 0)
    assert paying.height >= 2 and paying["dividend_yield"].is_between(0.0005, 0.1).all()
    owing = rows.filter(pl.col("debt_to_equity").is_not_null() & (pl.col("price_to_book") > 0))
    implied = owing["total_debt"] / (owing["market_cap"] / owing["price_to_book"])
    assert owing.height >= 3 and ((owing["debt_to_equity"] / implied).median() or 0) == pytest.approx(1.0, rel=0.2)
    earning = rows.filter(pl.col("profit_margin").is_not_null() & (pl.col("revenue") > 0))
    margin = earning["net_income"] / earning["revenue"]
    assert earning.height >= 3 and (margin / earning["profit_margin"]).median() == pytest.approx(1.0, rel=0.05)
    sold = rows.filter(pl.col("price_to_sales").is_not_null())
    assert (sold["market_cap"] / sold["revenue"] / sold["price_to_sales"]).median() == pytest.approx(1.0, rel=0.01)
    counted = rows.filter(pl.col("shares_outstanding") > 0)
    assert (counted["price"] * counted["shares_outstanding"] / counted["market_cap"]).is_between(0.95, 1.05).all()


@pytest.mark.parametrize("year", [2025], indirect=True)
def test_apple_alphabet_and_ocado_in_february_2025(year):
    rows = {row["symbol"]: row for row in year.snapshots("AAPL", "GOOG", "OCDO.L").rows.iter_rows(named=True)}
    apple = rows["AAPL"]
    assert (apple["asset_type"], apple["sector"], apple["currency"]) == ("stock", "Technology", "USD")
    assert (apple["price"], apple["market_cap"], apple["analysts"]) == (245.55, 3688676720640.0, 40)
    assert apple["debt_to_equity"] == pytest.approx(1.45) and apple["dividend_yield"] == 0.0041
    assert apple["pe_forward"] == pytest.approx(apple["price"] / apple["eps_forward"], rel=1e-6)
    assert apple["free_cash_flow_yield"] == pytest.approx(93833871360 / 3688676720640)
    assert apple["peg"] is None and apple["expense_ratio"] is None and apple["holdings"] is None
    assert apple["financial_currency"] is None
    assert rows["GOOG"]["shares_outstanding"] == 12_128_000_000, "all classes, as the capitalisation counts them"
    ocado = rows["OCDO.L"]
    assert (ocado["currency"], ocado["financial_currency"], ocado["price"]) == ("GBp", "GBP", 309.0)
    assert ocado["market_cap"] == pytest.approx(ocado["price"] * ocado["shares_outstanding"], rel=1e-6)
    assert ocado["free_cash_flow_yield"] is None


@both_years
def test_the_judge_condemns_the_mixed_currencies_and_few_others(year):
    rows = year.snapshots(*every_symbol(year.folder)).rows.with_columns(instrument_id="symbol")
    nothing = pl.DataFrame(schema={name: tables.INDICATORS.schema[name] for name in tables.INDICATORS.names})
    judged = judge(rows, nothing)
    mixed = judged.filter(pl.col("financial_currency").is_not_null())
    assert "OCDO.L" in set(mixed["symbol"]) and mixed["rules"].str.contains("currency_mismatch").all()
    assert mixed["price_to_book"].null_count() == mixed.height
    others = judged.filter(pl.col("financial_currency").is_null() & (pl.col("rules") != ""))
    assert set(others["symbol"]) <= {"UNIR.MI"}


@both_years
def test_funds_coins_and_currencies_are_told_as_what_they_are(year):
    rows = {
        row["symbol"]: row
        for row in year.snapshots("QQQ", "0P000071W8.TO", "BTC-USD", "EURUSD=X").rows.iter_rows(named=True)
    }
    qqq = rows["QQQ"]
    assert qqq["asset_type"] == "etf" and qqq["expense_ratio"] == 0.002
    assert qqq["fund_yield"] == pytest.approx(0.0055, abs=2e-4)
    assert qqq["assets_under_management"] > 1e11 and abs(qqq["nav_premium"]) < 0.002
    holdings = json.loads(qqq["holdings"])
    assert len(holdings) == 10 and {each["symbol"] for each in holdings} > {"AAPL", "MSFT"}
    assert holdings[0]["weight"] == pytest.approx(0.1, abs=0.05)
    assert json.loads(qqq["sector_weights"])["technology"] > 0.3
    assert qqq["credit_share_investment_grade"] is None, "an unrated fund has no share of good ratings"
    assert qqq["duration"] is None and qqq["revenue"] is None and qqq["debt_to_equity"] is None
    fund = rows["0P000071W8.TO"]
    assert (fund["asset_type"], fund["currency"]) == ("fund", "CAD")
    assert [rows[symbol]["asset_type"] for symbol in ("BTC-USD", "EURUSD=X")] == ["crypto", "currency"]
    for symbol in ("BTC-USD", "EURUSD=X"):
        assert rows[symbol]["price"] > 0 and rows[symbol]["pe_trailing"] is None
        assert rows[symbol]["shares_outstanding"] is None and rows[symbol]["revenue"] is None


def test_recorded_404_bodies_are_not_found_and_cost_the_others_nothing(recorded):
    told = recorded(2021)
    told.put(SUMMARY + "AAPL", "quoteSummary-all-AAPL")
    told.put(SUMMARY + "QQQQ", "quoteSummary-assetProfile-QQQ,")
    told.put(SUMMARY + "EURUSD=X", "quoteSummary-assetProfile-EURUSD=X")
    batch = told.snapshots("QQQQ", "AAPL", "EURUSD=X")
    assert batch.rows["symbol"].to_list() == ["AAPL"] and batch.answered == ("AAPL",)
    assert {failure.symbol: failure.error.kind for failure in batch.failures} == {
        "QQQQ": "not_found",
        "EURUSD=X": "not_found",
    }
    assert "Quote not found" in batch.failures[0].error.problem
    assert told.asked.count(SUMMARY + "QQQQ") == 1


class TestStatements:
    @pytest.fixture
    def apple(self, recorded: Callable[[int], Recorded]) -> ReferenceBatch:
        told = recorded(2025)
        told.put(SERIES + "AAPL", "fundamentalsTimeSeries-AAPL-all-annual", "fundamentalsTimeSeries-AAPL-all-quarterly")
        told.put(SUMMARY + "AAPL", "quoteSummary-secFilings-AAPL")
        batch = told.provider().statements(US, ["AAPL"], now=NOW)
        assert batch.http_calls == len(told.asked)
        assert len([path for path in told.asked if path.startswith((SERIES, SUMMARY))]) == 4
        return batch

    def test_every_number_of_every_item_is_told_once(self, apple, real_data):
        assert not apple.failures and apple.rows.schema == STATEMENTS_SCHEMA
        count = 0
        for frequency in ("annual", "quarterly"):
            name = f"fundamentalsTimeSeries-AAPL-all-{frequency}.json"
            body = json.loads((real_data / "yahoo_http" / "2025" / name).read_text())["response"]["bodyJson"]
            for series in body["timeseries"]["result"]:
                points = series.get(series["meta"]["type"][0], [])
                count += len(points)
        from trading_pipeline.providers.yahoo_fundamentals.statements import items

        assert count * 0.9 < apple.rows.height <= count, "all but the items yfinance does not know of"
        assert not apple.rows.select("period_end", "frequency", "item").is_duplicated().any()
        assert apple.rows["item"].n_unique() <= len(items())
        revenue = apple.rows.filter((pl.col("item") == "total_revenue") & (pl.col("frequency") == "annual"))
        assert dict(revenue.select("period_end", "value").iter_rows()) == {
            date(2022, 9, 30): 394_328_000_000.0,
            date(2023, 9, 30): 383_285_000_000.0,
            date(2024, 9, 30): 391_035_000_000.0,
        }
        assert set(apple.rows["currency"]) == {"USD"}

    def test_a_period_was_out_with_its_own_filing_or_after_the_default_lag(self, apple):
        exchange = calendar("XNYS")
        out = {
            (frequency, end): (filed, available)
            for frequency, end, filed, available in apple.rows.select(
                "frequency", "period_end", "filed_on", "available_at"
            )
            .unique()
            .iter_rows()
        }
        filed, available = out["quarterly", date(2024, 12, 31)]
        assert (filed, available) == (date(2025, 1, 31), exchange.close_at(date(2025, 1, 31)))
        filed, available = out["annual", date(2023, 9, 30)]
        assert (filed, available) == (date(2023, 11, 3), exchange.close_at(date(2023, 11, 3)))
        # The 10-K of 2024 is missing from the recorded list: ninety days, and not the next quarter's report.
        for frequency in ("annual", "quarterly"):
            assert out[frequency, date(2024, 9, 30)] == (None, exchange.close_at(date(2024, 12, 30)))
        assert out["quarterly", date(2024, 6, 30)][0] == date(2024, 8, 2)

    @pytest.mark.parametrize("symbol", ["QQQ", "BTC-USD", "EURUSD=X", "0P000071W8.TO"])
    def test_what_has_no_accounts_is_answered_without_items(self, recorded, symbol):
        told = recorded(2025)
        told.put(SERIES + symbol, f"fundamentalsTimeSeries-{symbol}-financials-quarterly")
        told.put(SUMMARY + symbol, f"quoteSummary-secFilings-{symbol}")
        batch = told.provider().statements(US, [symbol], now=NOW)
        assert batch.rows.is_empty() and not batch.failures and batch.answered == (symbol,)

    def test_items_keep_their_own_currency(self, recorded):
        told = recorded(2025)
        told.put(SERIES + "BABA", "fundamentalsTimeSeries-BABA-financials-quarterly")
        told.put(SUMMARY + "BABA", "quoteSummary-secFilings-BTC-USD")
        rows = told.provider().statements(US, ["BABA"], now=NOW).rows
        by_item = dict(rows.select("item", "currency").unique().iter_rows())
        assert by_item["total_revenue"] == "CNY" and set(by_item.values()) == {"CNY", "USD"}
        assert rows["filed_on"].null_count() == rows.height > 0
        assert (rows["available_at"] > rows["period_end"].cast(pl.Datetime("us", "UTC"))).all()
