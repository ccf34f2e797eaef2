"""The real yfinance client against a Yahoo on the loopback interface: what it is asked, and how it can fail."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime

import pytest
from curl_cffi import requests as curl

from trading_pipeline.errors import LiveOnly
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.errors import NotFound, ProviderDown, ProviderError, RateLimited, SchemaChanged
from trading_pipeline.providers.reference import FundamentalsProvider, StatementsProvider
from trading_pipeline.providers.yahoo_fundamentals import YahooFundamentals
from trading_pipeline.providers.yahoo_fundamentals.statements import item_name, items
from trading_pipeline.sessions import calendar

NOW = datetime(2024, 3, 8, 20, 0, tzinfo=UTC)
TODAY, YESTERDAY = date(2024, 3, 8), date(2024, 3, 7)
SUMMARY, SERIES = "/v10/finance/quoteSummary/", "/ws/fundamentals-timeseries/v1/finance/timeseries/"


def modules(symbol="ABC", kind="EQUITY", **more):
    return {
        "price": {"symbol": symbol, "quoteType": kind, "currency": "USD", "regularMarketPrice": 50, "marketCap": 5000},
        "quoteType": {"symbol": symbol, "quoteType": kind},
        "defaultKeyStatistics": {"pegRatio": 1.5},
        **more,
    }


def summary(symbol="ABC", kind="EQUITY", **more):
    return {"quoteSummary": {"result": [modules(symbol, kind, **more)], "error": None}}


def series(*told):
    return {"timeseries": {"result": list(told), "error": None}}


def point(day, value, **more):
    return {"asOfDate": day, "periodType": "3M", "currencyCode": "USD", "reportedValue": {"raw": value}, **more}


def one_series(type_, *points):
    return {"meta": {"type": [type_]}, "timestamp": [1], type_: list(points)}


@pytest.fixture
def yahoo(server, answer, redirected, patient, unlimited):
    from yfinance.data import SingletonMeta

    # The client keeps its crumb and cookie strategy for the life of the process.
    SingletonMeta._instances.clear()
    server.answers["/"] = answer("")
    server.answers["/v1/test/getcrumb"] = answer("crumb", headers={"Content-Type": "text/plain"})

    def make(attempts=1, timeout=10.0, **policy):
        return YahooFundamentals(
            session=redirected(curl.Session, server.url),
            throttle=unlimited,
            policy=patient(attempts=attempts, **policy),
            timeout=timeout,
        )

    return make


@pytest.fixture
def told(yahoo, server, answer):
    """The row of a summary with those modules."""

    def of(symbol="ABC", kind="EQUITY", **more):
        server.answers[SUMMARY + symbol] = answer(json.dumps(summary(symbol, kind, **more)))
        batch = yahoo().fundamentals(US, [symbol], [TODAY], now=NOW)
        assert not batch.failures, batch.failures
        return batch.rows.row(0, named=True)

    return of


def failure_of(batch) -> ProviderError:
    assert batch.rows.is_empty() and not batch.answered
    (failure,) = batch.failures
    return failure.error


def test_it_is_a_provider_of_fundamentals_and_of_statements(yahoo):
    assert isinstance(yahoo(), FundamentalsProvider) and isinstance(yahoo(), StatementsProvider)
    assert yahoo().name == "yahoo" and not yahoo().dated


class TestWhatIsAsked:
    def test_a_symbol_costs_one_call_and_a_batch_one_cookie_and_one_crumb(self, yahoo, server, answer, unlimited):
        for symbol in ("ABC", "DEF"):
            server.answers[SUMMARY + symbol] = answer(summary(symbol))
        batch = yahoo().fundamentals(US, ["ABC", "DEF"], [TODAY], now=NOW)
        assert batch.answered == ("ABC", "DEF") and batch.http_calls == len(server.asked) == unlimited.acquired == 4
        (asked,) = [each for each in server.asked if each.path == SUMMARY + "ABC"]
        assert {"price", "financialData", "topHoldings"} <= set(asked.query["modules"][0].split(","))
        assert asked.query["formatted"] == ["false"] and asked.query["crumb"] == ["crumb"]

    def test_the_peg_of_a_share_comes_from_the_time_series_where_the_summary_has_none(self, yahoo, server, answer):
        server.answers[SUMMARY + "ABC"] = answer(summary(defaultKeyStatistics={}))
        old, new = point("2024-02-01", 9.0), point("2024-03-07", 2.25)
        server.answers[SERIES + "ABC"] = answer(series(one_series("trailingPegRatio", new, None, old)))
        assert yahoo().fundamentals(US, ["ABC"], [TODAY], now=NOW).rows["peg"].to_list() == [2.25]
        (asked,) = [each for each in server.asked if each.path.startswith(SERIES)]
        assert asked.query["type"] == ["trailingPegRatio"]
        server.answers[SERIES + "ABC"] = answer(series({"meta": {"type": ["trailingPegRatio"]}}))
        assert yahoo().fundamentals(US, ["ABC"], [TODAY], now=NOW).rows["peg"].to_list() == [None]

    def test_the_same_question_is_asked_again_and_not_answered_from_memory(self, yahoo, server, answer):
        bodies = [answer(summary(financialData={"totalDebt": debt})) for debt in (1, 2)]
        server.answers[SUMMARY + "ABC"] = bodies
        client = yahoo()
        debts = [client.fundamentals(US, ["ABC"], [TODAY], now=NOW).rows["total_debt"][0] for _ in range(2)]
        assert debts == [1.0, 2.0]

    @pytest.mark.parametrize("symbol", ["", "ABC?modules=all", "../ABC", "US0378331005"])
    def test_what_is_not_a_symbol_never_reaches_the_wire(self, yahoo, server, symbol):
        assert isinstance(failure_of(yahoo().fundamentals(US, [symbol], [TODAY], now=NOW)), NotFound)
        assert not server.asked


class TestWhichSession:
    @pytest.mark.parametrize(
        ("market", "now", "live"),
        [
            (US, datetime(2024, 3, 8, 14, 30, tzinfo=UTC), TODAY),
            (US, datetime(2024, 3, 8, 14, 29, tzinfo=UTC), YESTERDAY),
            (US, datetime(2024, 3, 10, 14, 0, tzinfo=UTC), TODAY),
            (ASX, datetime(2024, 3, 8, 0, 30, tzinfo=UTC), TODAY),
        ],
    )
    def test_a_snapshot_is_told_of_the_latest_session_that_had_begun(self, yahoo, server, answer, market, now, live):
        server.answers[SUMMARY + "ABC"] = answer(summary())
        rows = yahoo().fundamentals(market, ["ABC"], [live], now=now).rows
        assert rows.select("session", "available_at").rows() == [(live, now)]

    @pytest.mark.parametrize("sessions", [[YESTERDAY], [YESTERDAY, TODAY], [date(2024, 3, 11)]])
    def test_any_other_session_is_refused_before_anything_is_asked(self, yahoo, server, sessions):
        with pytest.raises(LiveOnly, match="of 2024-03-08, not of"):
            yahoo().fundamentals(US, ["ABC"], sessions, now=NOW)
        assert not server.asked

    def test_no_session_is_no_question(self, yahoo, server):
        assert yahoo().fundamentals(US, ["ABC"], [], now=NOW).rows.is_empty() and not server.asked


class TestValues:
    def test_what_says_that_there_is_no_number_is_null_and_kept_as_it_came(self, told):
        detail = {"trailingPE": "Infinity", "forwardPE": float("nan"), "beta": {}, "payoutRatio": None}
        row = told(summaryDetail=detail)
        assert [row[name] for name in ("pe_trailing", "pe_forward", "beta", "payout_ratio")] == [None] * 4
        kept = json.loads(row["payload"])["summaryDetail"]
        assert kept == {"trailingPE": "Infinity", "forwardPE": "NaN", "beta": {}, "payoutRatio": None}

    def test_zero_is_zero(self, told):
        row = told(summaryDetail={"payoutRatio": 0, "trailingAnnualDividendYield": 0}, financialData={"totalDebt": 0})
        assert (row["payout_ratio"], row["dividend_yield"], row["total_debt"]) == (0.0, 0.0, 0.0)

    def test_a_formatted_number_is_read_and_kept(self, told):
        row = told(financialData={"totalDebt": {"raw": 12, "fmt": "12"}})
        assert row["total_debt"] == 12.0
        assert json.loads(row["payload"])["financialData"] == {"totalDebt": {"raw": 12, "fmt": "12"}}

    @pytest.mark.parametrize(("stated", "rate"), [(0.0041, 1.0), (0.41, 1.0), (2.0, 1.0), (0.02, 1.0), (7.5, None)])
    def test_the_rate_tells_whether_a_yield_is_per_cent(self, told, stated, rate):
        price = 1.0 / (0.0041 if "41" in str(stated) else 0.02)
        row = told(
            summaryDetail={"dividendYield": stated, **({"dividendRate": rate} if rate else {})},
            price={**modules()["price"], "regularMarketPrice": price},
        )
        assert row["dividend_yield"] == pytest.approx(stated if rate is None else 1.0 / price, rel=1e-6)
        assert json.loads(row["payload"])["summaryDetail"]["dividendYield"] == stated

    def test_a_bond_etf_is_known_by_what_it_holds_and_rated_by_what_is_rated(self, told):
        ratings = [{"aaa": 0.5}, {"bbb": 0.2}, {"bb": 0.2}, {"below_b": 0.1}, {"us_government": 0.6}]
        holdings = {"bondPosition": 0.97, "bondRatings": ratings, "bondHoldings": {"duration": 6.1, "maturity": 8.2}}
        row = told(kind="ETF", topHoldings=holdings)
        assert row["asset_type"] == "bond_etf" and row["duration"] == 6.1
        assert row["credit_share_investment_grade"] == pytest.approx(0.7)

    @pytest.mark.parametrize(
        ("category", "kind"),
        [
            ("Intermediate Core Bond", "bond_etf"),
            ("Long Government", "bond_etf"),
            ("Large Growth", "etf"),
            (None, "etf"),
        ],
    )
    def test_without_its_holdings_an_etf_is_known_by_its_category(self, told, category, kind):
        assert told(kind="ETF", fundProfile={"categoryName": category})["asset_type"] == kind

    @pytest.mark.parametrize(("kind", "ours"), [("INDEX", "index"), ("FUTURE", "other"), ("CURRENCY", "currency")])
    def test_every_other_kind_has_a_name(self, told, kind, ours):
        assert told(kind=kind)["asset_type"] == ours

    def test_shares_are_of_the_classes_that_the_capitalisation_counts(self, told):
        both = {"sharesOutstanding": 45, "impliedSharesOutstanding": 99, "pegRatio": 1}
        assert told(defaultKeyStatistics=both)["shares_outstanding"] == 99.0
        assert told(defaultKeyStatistics={**both, "sharesOutstanding": 101})["shares_outstanding"] == 101.0

    def test_a_quote_without_a_currency_says_so(self, told):
        assert told(price={**modules()["price"], "currency": None})["currency"] == "XXX"


class TestFailures:
    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (("Too Many Requests", 429), RateLimited),
            (("<html><body>Service Unavailable</body></html>", 503), ProviderDown),
            (("Bad gateway", 502), ProviderDown),
            (("<html>Will be right back...</html>", 200), ProviderDown),
            (('{"quoteSummary": {"result": [{"price": {"sym', 200), ProviderDown),
            (("<html>404</html>", 404), SchemaChanged),
            (
                ({"quoteSummary": {"result": None, "error": {"code": "Not Found", "description": "Quote"}}}, 404),
                NotFound,
            ),
            (
                ({"quoteSummary": {"result": None, "error": {"code": "Bad Request", "description": "x"}}}, 400),
                SchemaChanged,
            ),
            (({"quoteSummary": {"result": [], "error": None}}, 200), SchemaChanged),
            (({"quoteSummary": {"result": [{}], "error": None}}, 200), SchemaChanged),
            (({"chart": {"result": []}}, 200), SchemaChanged),
            ((summary("XYZ"), 200), NotFound),
            ((summary(financialData={"totalDebt": "12 bn"}), 200), SchemaChanged),
            ((summary(summaryProfile={"sector": 7}), 200), SchemaChanged),
            ((summary(topHoldings={"holdings": [1]}), 200), SchemaChanged),
            (({"finance": {"error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}, 401), ProviderDown),
        ],
        ids=str,
    )
    def test_an_answer_that_cannot_be_used_is_told_for_what_it_is(self, yahoo, server, answer, said, meant):
        server.answers[SUMMARY + "ABC"] = answer(*said)
        error = failure_of(yahoo().fundamentals(US, ["ABC"], [TODAY], now=NOW))
        assert type(error) is meant and "crumb=" not in str(error)

    def test_429_costs_one_request_and_retry_after_is_waited_for(self, yahoo, server, answer, waits):
        server.answers[SUMMARY + "ABC"] = answer("Too Many Requests", 429)
        failure_of(yahoo().fundamentals(US, ["ABC"], [TODAY], now=NOW))
        assert len(server.paths(SUMMARY)) == 1
        server.answers[SUMMARY + "ABC"] = [answer("", 429, {"Retry-After": "7"}), answer(summary())]
        assert yahoo(attempts=2).fundamentals(US, ["ABC"], [TODAY], now=NOW).answered == ("ABC",)
        assert sum(waits.slept) >= 7

    def test_a_server_that_hangs_or_cuts_its_answer_is_down(self, yahoo, server, answer):
        released = threading.Event()
        server.answers[SUMMARY + "ABC"] = answer(summary(), delay=released)
        error = failure_of(yahoo(timeout=0.3).fundamentals(US, ["ABC"], [TODAY], now=NOW))
        released.set()
        assert isinstance(error, ProviderDown)
        server.answers[SUMMARY + "ABC"] = answer(summary(), cut_to=20)
        assert isinstance(failure_of(yahoo().fundamentals(US, ["ABC"], [TODAY], now=NOW)), ProviderDown)

    def test_a_failing_symbol_costs_the_others_nothing(self, yahoo, server, answer):
        server.answers[SUMMARY + "ABC"] = answer(summary())
        server.answers[SUMMARY + "DOWN"] = answer("oops", 500)
        seen = []
        batch = yahoo(attempts=2).fundamentals(
            US, ["DOWN", "ABC", "GONE?"], [TODAY], now=NOW, progress=lambda done, total: seen.append((done, total))
        )
        assert batch.rows["symbol"].to_list() == ["ABC"] and seen[-1] == (3, 3)
        assert {failure.symbol: failure.error.kind for failure in batch.failures} == {
            "DOWN": "provider_down",
            "GONE?": "not_found",
        }
        assert len(server.paths(SUMMARY + "DOWN")) == 2

    def test_a_storm_ends_the_batch_early_and_loses_no_symbol(self, yahoo, server, answer):
        server.fallback = answer("Too Many Requests", 429)
        symbols = [f"T{number}" for number in range(30)]
        batch = yahoo(breaker=3).fundamentals(US, symbols, [TODAY], now=NOW)
        assert [failure.symbol for failure in batch.failures] == symbols
        assert {type(failure.error) for failure in batch.failures} == {RateLimited}
        assert len(server.paths(SUMMARY)) < 10


class TestStatements:
    @pytest.fixture
    def statements(self, yahoo, server, answer):
        def of(*told, filings=(), now=NOW):
            server.answers[SERIES + "ABC"] = [answer(series(*told)), answer(series()), answer(series())]
            server.answers[SUMMARY + "ABC"] = answer(
                {"quoteSummary": {"result": [{"secFilings": {"filings": list(filings)}}], "error": None}}
            )
            return yahoo().statements(US, ["ABC"], now=now)

        return of

    @staticmethod
    def filing(form, filed_on, document):
        return {"type": form, "date": filed_on, "exhibits": [{"type": form, "url": f"https://example.test/{document}"}]}

    def test_annual_quarterly_and_trailing_figures_of_every_item_are_asked_for(self, statements, server):
        assert statements().http_calls == len(server.asked) == 6
        asked = [each.query["type"][0].split(",") for each in server.asked if each.path.startswith(SERIES)]
        assert asked == [[frequency + item for item in items()] for frequency in ("annual", "quarterly", "trailing")]
        assert len(items()) > 350

    def test_items_are_named_in_our_way_and_no_two_alike(self):
        assert [item_name(item) for item in ("NetIncome", "BasicEPS", "EBITDA", "NetPPE", "TaxRateForCalcs")] == [
            "net_income",
            "basic_eps",
            "ebitda",
            "net_ppe",
            "tax_rate_for_calcs",
        ]
        assert len({item_name(item) for item in items()}) == len(items())

    def test_a_null_and_a_point_without_a_number_are_no_facts(self, statements):
        told = one_series("annualNetIncome", None, point("2022-12-31", 5), {"asOfDate": "2021-12-31"})
        rows = statements(told, {"meta": {"type": ["annualEBIT"]}}).rows
        assert rows.select("period_end", "frequency", "item", "value", "currency").rows() == [
            (date(2022, 12, 31), "annual", "net_income", 5.0, "USD")
        ]

    def test_without_a_filing_a_quarter_is_out_after_45_days_and_a_year_and_its_last_quarter_after_90(self, statements):
        rows = statements(
            one_series("annualNetIncome", point("2022-12-31", 5)),
            one_series("quarterlyNetIncome", point("2022-12-31", 1), point("2023-03-31", 2)),
            one_series("trailingNetIncome", point("2022-12-31", 5), point("2023-03-31", 6)),
        ).rows
        close = calendar("XNYS").close_at
        out = {(row["frequency"], row["period_end"]): row["available_at"] for row in rows.iter_rows(named=True)}
        for frequency in ("annual", "quarterly", "trailing"):
            assert out[frequency, date(2022, 12, 31)] == close(date(2023, 3, 31))
        for frequency in ("quarterly", "trailing"):
            assert out[frequency, date(2023, 3, 31)] == close(date(2023, 5, 15))
        assert rows["filed_on"].null_count() == rows.height

    def test_what_is_told_before_its_lag_has_passed_is_out_now(self, statements):
        rows = statements(one_series("quarterlyNetIncome", point("2024-02-29", 1))).rows
        assert rows["available_at"].to_list() == [NOW]

    def test_a_filing_that_names_the_period_dates_it(self, statements):
        close = calendar("XNYS").close_at
        rows = statements(
            one_series("annualNetIncome", point("2022-12-31", 5)),
            one_series("quarterlyNetIncome", point("2023-03-31", 2), point("2023-06-30", 3), point("2023-09-30", 4)),
            filings=[
                self.filing("8-K", "2023-01-20", "abc-20221231.htm"),
                self.filing("10-K", "2023-02-18", "abc-20221230.htm"),
                # Filed late, between the ends of two quarters: it is the first one's and says nothing of the second.
                self.filing("10-Q", "2023-07-03", "abc-20230401.htm"),
                self.filing("10-Q", "2023-11-01", "form10q.htm"),
            ],
        ).rows
        out = {row["period_end"]: (row["filed_on"], row["available_at"]) for row in rows.iter_rows(named=True)}
        assert out[date(2022, 12, 31)] == (date(2023, 2, 18), close(date(2023, 2, 21))), "a Saturday before a holiday"
        assert out[date(2023, 3, 31)] == (date(2023, 7, 3), close(date(2023, 7, 3)))
        assert out[date(2023, 6, 30)] == (None, close(date(2023, 8, 14)))
        assert out[date(2023, 9, 30)] == (None, close(date(2023, 11, 14)))

    def test_a_list_of_filings_that_does_not_exist_is_no_failure_but_one_that_fails_is(
        self, statements, yahoo, server, answer
    ):
        told = one_series("annualNetIncome", point("2022-12-31", 5))
        missing = {"quoteSummary": {"result": None, "error": {"code": "Not Found", "description": "secFilings"}}}
        statements(told)
        server.answers[SERIES + "ABC"] = [answer(series(told)), answer(series())]
        server.answers[SUMMARY + "ABC"] = answer(missing, 404)
        assert yahoo().statements(US, ["ABC"], now=NOW).rows.height == 1
        server.answers[SERIES + "ABC"] = [answer(series(told)), answer(series())]
        server.answers[SUMMARY + "ABC"] = answer("oops", 500)
        assert isinstance(failure_of(yahoo().statements(US, ["ABC"], now=NOW)), ProviderDown)

    @pytest.mark.parametrize(
        "told",
        [
            [one_series("annualNetIncome", {"reportedValue": {"raw": 1}})],
            [one_series("annualNetIncome", point("2022-12-31", 5), point("2022-12-31", 6))],
        ],
        ids=["no date", "twice"],
    )
    def test_statements_that_cannot_be_read_are_told_so(self, statements, told):
        assert isinstance(failure_of(statements(*told)), SchemaChanged)
