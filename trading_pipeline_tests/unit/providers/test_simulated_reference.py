"""What the simulated market tells beyond bars: consistent, the same whenever asked, and wrong only as planted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.errors import UnknownSession
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.providers.reference import (
    EARNINGS_SCHEMA,
    FUNDAMENTALS_SCHEMA,
    NEWS_SCHEMA,
    STATEMENTS_SCHEMA,
    EarningsProvider,
    FundamentalsProvider,
    NewsProvider,
    ReferenceBatch,
    StatementsProvider,
)
from trading_pipeline.providers.simulated import SimulatedProvider, Truth
from trading_pipeline.providers.simulated.accounts import Books, books_of
from trading_pipeline.providers.simulated.market import SimulatedMarket, simulated_market
from trading_pipeline.providers.simulated.newsroom import LATE, MISATTRIBUTED, MISSING, Newsroom, newsroom_of
from trading_pipeline.sessions import calendar

SEED, COMPANIES = 20160314, 120
EXCHANGE = calendar("XNYS")
FIRST, LAST = date(2018, 1, 2), date(2021, 6, 30)
NOW = datetime(2021, 6, 30, 23, 0, tzinfo=UTC)
SESSIONS = EXCHANGE.between(FIRST, LAST)
START = datetime(2017, 12, 29, tzinfo=UTC)


@pytest.fixture(scope="module")
def provider() -> SimulatedProvider:
    return SimulatedProvider(SEED, COMPANIES)


@pytest.fixture(scope="module")
def truth(provider: SimulatedProvider) -> Truth:
    return Truth(provider, US, LAST)


@pytest.fixture(scope="module")
def symbols(provider: SimulatedProvider) -> list[str]:
    return provider.symbols(US, FIRST, LAST)


@pytest.fixture(scope="module")
def names(truth: Truth) -> pl.DataFrame:
    return truth.companies().select("instrument_id", symbol="ticker")


@pytest.fixture(scope="module")
def snapshots(provider: SimulatedProvider, symbols: list[str]) -> pl.DataFrame:
    return provider.fundamentals(US, symbols, SESSIONS, now=NOW).rows


@pytest.fixture(scope="module")
def sound(snapshots: pl.DataFrame, truth: Truth, names: pl.DataFrame) -> pl.DataFrame:
    """Snapshots without a planted fault, with the instrument."""
    faults = truth.fundamental_faults().select("session", "instrument_id")
    return snapshots.join(names, on="symbol").join(faults, on=["session", "instrument_id"], how="anti")


@pytest.fixture(scope="module")
def reports(provider: SimulatedProvider, symbols: list[str]) -> pl.DataFrame:
    return provider.earnings(US, symbols, FIRST, LAST + timedelta(days=92), now=NOW).rows


@pytest.fixture(scope="module")
def articles(provider: SimulatedProvider, symbols: list[str]) -> pl.DataFrame:
    return provider.news(US, symbols, START, NOW, now=NOW).rows


@pytest.fixture(scope="module")
def planted(truth: Truth) -> pl.DataFrame:
    return truth.articles().filter(pl.col("session").is_between(FIRST, LAST))


def test_it_fits_the_protocols(provider: SimulatedProvider) -> None:
    for protocol in (FundamentalsProvider, StatementsProvider, EarningsProvider, NewsProvider):
        assert isinstance(provider, protocol)
    assert provider.dated


def test_the_answers_have_the_declared_columns(
    provider: SimulatedProvider,
    symbols: list[str],
    snapshots: pl.DataFrame,
    reports: pl.DataFrame,
    articles: pl.DataFrame,
) -> None:
    statements = provider.statements(US, symbols, now=NOW).rows

    for frame, schema, key in (
        (snapshots, FUNDAMENTALS_SCHEMA, ["symbol", "session"]),
        (reports, EARNINGS_SCHEMA, ["symbol", "fiscal_period", "available_at"]),
        (articles, NEWS_SCHEMA, ["article_id", "symbol"]),
        (statements, STATEMENTS_SCHEMA, ["symbol", "period_end", "frequency", "item"]),
    ):
        assert frame.schema == schema
        assert frame.height > 5_000
        assert not frame.select(key).is_duplicated().any()
        assert frame["available_at"].max() <= NOW
        assert frame.select(pl.col(pl.Float64).is_nan().any()).row(0) == (False,) * len(
            frame.select(pl.col(pl.Float64)).columns
        ), "what is not known is null"


class TestTheSameWheneverAsked:
    THEN = datetime(2019, 9, 12, 20, 30, tzinfo=UTC)  # half an hour after the close: the bar is final

    def answers(self, provider: SimulatedProvider, symbols: list[str], now: datetime) -> dict[str, ReferenceBatch]:
        over = [session for session in SESSIONS if session <= now.date()]
        return {
            "fundamentals": provider.fundamentals(US, symbols, over, now=now),
            "statements": provider.statements(US, symbols, now=now),
            "earnings": provider.earnings(US, symbols, FIRST, LAST, now=now),
            "news": provider.news(US, symbols, START, now, now=now),
        }

    def test_what_was_told_then_is_told_years_later_to_the_bit(
        self, provider: SimulatedProvider, symbols: list[str]
    ) -> None:
        companies = [symbol for symbol in symbols if symbol in provider.symbols(US, FIRST, self.THEN.date())]

        then, now = self.answers(provider, companies, self.THEN), self.answers(provider, companies, NOW)

        for name, before in then.items():
            assert not before.failures
            late = now[name].rows.filter(pl.col("available_at") <= self.THEN)
            if name == "earnings":
                # A report that was not dated into the window then is not what was asked for then.
                late = late.join(before.rows.select("symbol", "fiscal_period").unique(), on=["symbol", "fiscal_period"])
                late = late.select(before.rows.columns)
            assert before.rows.height > 3_000
            assert_frame_equal(before.rows, late, check_exact=True, check_row_order=False)

    def test_a_process_that_asked_less_far_before_says_the_same(
        self, snapshots: pl.DataFrame, reports: pl.DataFrame, articles: pl.DataFrame, symbols: list[str]
    ) -> None:
        for cached in (simulated_market, books_of, newsroom_of):
            cached.cache_clear()  # type: ignore[attr-defined]
        fresh = SimulatedProvider(SEED, COMPANIES)
        early = datetime(2012, 3, 1, tzinfo=UTC)
        fresh.news(US, ["Q1005"], early - timedelta(days=3), early, now=early)

        assert_frame_equal(fresh.news(US, symbols, START, NOW, now=NOW).rows, articles, check_exact=True)
        assert_frame_equal(fresh.fundamentals(US, symbols, SESSIONS, now=NOW).rows, snapshots, check_exact=True)
        told = fresh.earnings(US, symbols, FIRST, LAST + timedelta(days=92), now=NOW).rows
        assert_frame_equal(told, reports, check_exact=True)

    def test_day_by_day_it_tells_what_it_tells_of_a_range(
        self, provider: SimulatedProvider, symbols: list[str], snapshots: pl.DataFrame, articles: pl.DataFrame
    ) -> None:
        days = EXCHANGE.between(date(2020, 2, 24), date(2020, 4, 8))
        # A company that is called otherwise later is asked for by another symbol then.
        symbols = sorted(set(symbols) & set(provider.symbols(US, days[0], days[0])))
        mine = pl.col("symbol").is_in(symbols)
        daily, printed = [], []
        for before, day in pairwise(days):
            now = EXCHANGE.close_at(day) + provider.lag
            daily.append(provider.fundamentals(US, symbols, [day], now=now).rows)
            since = EXCHANGE.close_at(before) + provider.lag
            printed.append(provider.news(US, symbols, since, now, now=now + timedelta(minutes=15)).rows)

        assert_frame_equal(
            pl.concat(daily).sort("symbol", "session"),
            snapshots.filter(mine & pl.col("session").is_in(days[1:])),
            check_exact=True,
        )
        since, until = (EXCHANGE.close_at(day) + provider.lag for day in (days[0], days[-1]))
        inside = articles.filter(mine & (pl.col("published_at") > since) & (pl.col("published_at") <= until))
        assert inside.height > 300
        assert_frame_equal(pl.concat(printed), inside, check_exact=True, check_row_order=False)

    def test_the_accounts_do_not_depend_on_how_far_the_market_is_simulated(self) -> None:
        at_once, slowly = (Books(SimulatedMarket(US, SEED, 40)) for _ in range(2))
        at_once.reach(2500)
        for position in (10, 700, 701, 2500):
            slowly.reach(position)

        np.testing.assert_array_equal(slowly.column("net"), at_once.column("net"))
        np.testing.assert_array_equal(slowly.held, at_once.held)
        assert_frame_equal(Newsroom(slowly).articles(600, 800), Newsroom(at_once).articles(600, 800), check_exact=True)

    def test_prices_of_later_quarters_change_no_accounts(self) -> None:
        """The accounts of a quarter read no price of that quarter: changing all of them changes nothing up to it."""
        plain, shaken = (SimulatedMarket(US, SEED, 40).reach(1200) for _ in range(2))
        quarter = 12
        shaken.close[:, int(shaken.bounds[quarter]) :] *= 3

        ours, theirs = (Books(market).reach(1200) for market in (plain, shaken))

        upto = 8 + quarter + 1
        np.testing.assert_array_equal(ours.column("net")[:, :upto], theirs.column("net")[:, :upto])
        assert not np.array_equal(ours.column("net"), theirs.column("net"), equal_nan=True)


class TestWhoIsAsked:
    def test_every_symbol_is_answered_or_failed(self, provider: SimulatedProvider, symbols: list[str]) -> None:
        asked = [*symbols, "AAPL", "Q9999"]

        for batch in (
            provider.fundamentals(US, asked, SESSIONS[-5:], now=NOW),
            provider.statements(US, asked, now=NOW),
            provider.earnings(US, asked, FIRST, LAST, now=NOW),
            provider.news(US, asked, START, NOW, now=NOW),
        ):
            failed = {failure.symbol: type(failure.error) for failure in batch.failures}
            assert failed == {"AAPL": NotFound, "Q9999": NotFound}
            assert set(batch.answered) == set(symbols)
            assert set(batch.rows["symbol"]) <= set(symbols)

    def test_a_symbol_given_up_by_a_rename_is_not_found_and_the_new_one_has_the_whole_story(
        self, provider: SimulatedProvider, truth: Truth
    ) -> None:
        rename = truth.renames().filter(pl.col("session").is_between(FIRST, LAST)).row(0, named=True)

        batch = provider.fundamentals(US, [rename["from_ticker"], rename["to_ticker"]], SESSIONS, now=NOW)

        assert [failure.symbol for failure in batch.failures] == [rename["from_ticker"]]
        assert batch.rows["session"].min() < rename["session"]

    def test_the_session_under_way_has_no_snapshot_yet(self, provider: SimulatedProvider, symbols: list[str]) -> None:
        session = SESSIONS[-1]
        over = EXCHANGE.close_at(session) + provider.lag

        before = provider.fundamentals(US, symbols, [session], now=over - timedelta(seconds=1)).rows
        after = provider.fundamentals(US, symbols, [session], now=over).rows

        assert before.is_empty()
        assert set(after["available_at"]) == {over}

    def test_a_day_without_trading_is_refused(self, provider: SimulatedProvider) -> None:
        with pytest.raises(UnknownSession, match="weekend"):
            provider.fundamentals(US, ["Q1001"], [date(2021, 6, 26)], now=NOW)

    def test_the_australian_market_has_its_own(self, provider: SimulatedProvider) -> None:
        now = datetime(2021, 6, 30, 12, tzinfo=UTC)
        asked = provider.symbols(ASX, FIRST, LAST)

        rows = provider.fundamentals(ASX, asked, calendar("XASX").between(date(2021, 6, 1), LAST), now=now).rows
        printed = provider.news(ASX, asked, now - timedelta(days=30), now, now=now).rows

        assert set(rows["currency"]) == {"AUD"}
        assert rows["symbol"].str.ends_with(".AX").all()
        assert printed.height > 200
        assert provider.earnings(ASX, asked, date(2021, 1, 1), LAST, now=now).rows["eps_actual"].count() > 150


class TestSnapshots:
    def test_the_numbers_of_a_snapshot_agree_with_each_other(self, sound: pl.DataFrame) -> None:
        c = pl.col
        identities = {
            "cap": (c("market_cap"), c("price") * c("shares_outstanding")),
            "pe": (c("pe_trailing"), c("price") / c("eps_trailing")),
            "pe_forward": (c("pe_forward"), c("price") / c("eps_forward")),
            "eps": (c("eps_trailing"), c("net_income") / c("shares_outstanding")),
            "ps": (c("price_to_sales"), c("market_cap") / c("revenue")),
            "margin": (c("profit_margin"), c("net_income") / c("revenue")),
            "fcf_yield": (c("free_cash_flow_yield"), c("free_cash_flow") / c("market_cap")),
            "ev": (c("enterprise_value"), c("market_cap") + c("total_debt") - c("total_cash")),
            "ev_to_ebitda": (c("ev_to_ebitda"), c("enterprise_value") / c("ebitda")),
            "payout": (c("payout_ratio"), c("dividend_yield") * c("price") / c("eps_trailing")),
            "roe": (c("return_on_equity") * c("market_cap"), c("net_income") * c("price_to_book")),
        }
        for name, (told, expected) in identities.items():
            both = sound.select(told=told, expected=expected).drop_nulls()
            assert both.height > 0.5 * sound.height, name
            np.testing.assert_allclose(both["told"], both["expected"], rtol=1e-9, err_msg=name)

    def test_price_and_range_are_those_of_the_bars(
        self,
        provider: SimulatedProvider,
        sound: pl.DataFrame,
        truth: Truth,
        symbols: list[str],
        names: pl.DataFrame,
    ) -> None:
        requests = [SymbolRequest(symbol, date(2016, 12, 1), LAST) for symbol in symbols]
        batch = provider.daily_bars(requests, now=NOW)
        untouched = (
            batch.bars.filter(~pl.col("symbol").is_in(batch.actions.filter(kind="split")["symbol"].implode()))
            .join(truth.faults().join(names, on="instrument_id").select("symbol").unique(), on="symbol", how="anti")
            .sort("symbol", "session")
            .with_columns(
                high_year=pl.col("high").rolling_max(252, min_samples=1).over("symbol"),
                low_year=pl.col("low").rolling_min(252, min_samples=1).over("symbol"),
                known=pl.int_range(pl.len()).over("symbol"),
            )
            .filter(pl.col("known") >= 251)
        )

        both = sound.join(untouched, on=["symbol", "session"])

        assert both.height > 3_000
        np.testing.assert_allclose(both["price"], both["close"], rtol=1e-12)
        np.testing.assert_allclose(both["high_52_weeks"], both["high_year"], rtol=1e-12)
        np.testing.assert_allclose(both["low_52_weeks"], both["low_year"], rtol=1e-12)

    def test_a_loss_has_no_price_over_earnings(self, sound: pl.DataFrame) -> None:
        losses = sound.filter(pl.col("eps_trailing") < 0)

        assert 0.01 < losses.height / sound.height < 0.15
        assert losses["pe_trailing"].null_count() == losses.height
        assert losses["peg"].null_count() == losses.height
        assert (sound.filter(pl.col("pe_trailing").is_not_null())["eps_trailing"] > 0).all()

    def test_snapshots_are_told_weekly_and_when_something_changes(
        self, snapshots: pl.DataFrame, truth: Truth, names: pl.DataFrame
    ) -> None:
        place = {session: at for at, session in enumerate(SESSIONS)}
        at = snapshots.with_columns(at=pl.col("session").replace_strict(place))
        gaps = at.select(pl.col("at").diff().over("symbol")).drop_nulls().to_series()
        key = snapshots.join(names, on="symbol").select("instrument_id", "session")
        inside = pl.col("session").is_between(FIRST, LAST)
        changes = pl.concat(
            [
                truth.earnings().filter(inside).select("instrument_id", "session"),
                truth.actions().filter(inside, kind="split").select("instrument_id", "session"),
            ]
        )

        assert gaps.max() == 5
        assert changes.height > 1_000
        assert changes.join(key, on=["instrument_id", "session"], how="anti").is_empty()
        assert snapshots.height / (len(SESSIONS) * 118) < 0.25

    def test_accounts_change_on_reports_alone(self, sound: pl.DataFrame, truth: Truth) -> None:
        pairs = truth.pair()
        told = sound.drop_nulls("revenue").filter(~pl.col("symbol").is_in([pairs.leader, pairs.follower]))
        changed = told.sort("symbol", "session").filter(
            (pl.col("revenue") != pl.col("revenue").shift(1).over("symbol")).fill_null(value=False)
        )
        since = changed.join_asof(
            truth.earnings().select("instrument_id", reported="session").sort("reported"),
            left_on="session",
            right_on="reported",
            by="instrument_id",
            check_sortedness=False,
        )

        assert changed.height > 1_000
        # Where the field was missing for a quarter the change is seen later.
        assert (since["session"] == since["reported"]).mean() > 0.95

    def test_after_a_split_the_share_count_is_the_new_one_at_once(
        self, sound: pl.DataFrame, truth: Truth, names: pl.DataFrame
    ) -> None:
        splits = truth.actions().filter(pl.col("session").is_between(FIRST, LAST), kind="split")
        before = sound.select("instrument_id", "session", shares="shares_outstanding").sort("session")
        around = (
            splits.with_columns(eve=pl.col("session").dt.offset_by("-1d"))
            .sort("eve")
            .join_asof(before, left_on="eve", right_on="session", by="instrument_id", check_sortedness=False)
            .join(sound.select("instrument_id", "session", "shares_outstanding"), on=["instrument_id", "session"])
            .drop_nulls("shares")
        )

        assert around.height > 5
        np.testing.assert_allclose(around["shares_outstanding"] / around["shares"], around["value"], rtol=1e-9)

    def test_often_missing_fields_are_often_missing(self, sound: pl.DataFrame) -> None:
        missing = {name: sound[name].null_count() / sound.height for name in ("peg", "revenue", "beta", "quick_ratio")}

        assert 0.3 < missing["peg"] < 0.6
        assert 0.005 < missing["revenue"] < 0.03
        assert 0.005 < missing["beta"] < 0.03
        assert missing["quick_ratio"] > 0.05
        assert (
            sound.filter(sector="Financials")["current_ratio"].null_count() == sound.filter(sector="Financials").height
        )

    def test_faults_are_as_planted_and_nowhere_else(
        self, snapshots: pl.DataFrame, sound: pl.DataFrame, truth: Truth, names: pl.DataFrame
    ) -> None:
        key = ["session", "instrument_id"]
        told = snapshots.join(names, on="symbol")
        found = {
            "range_swapped": told.filter(pl.col("high_52_weeks") < pl.col("low_52_weeks")),
            "range_stale": told.filter(
                (pl.col("high_52_weeks") > pl.col("low_52_weeks"))
                & ((pl.col("price") > pl.col("high_52_weeks")) | (pl.col("price") < pl.col("low_52_weeks")))
            ),
            "cap_in_thousands": told.filter(
                pl.col("market_cap") < 0.5 * pl.col("price") * pl.col("shares_outstanding")
            ),
        }
        planted = truth.fundamental_faults().filter(pl.col("session").is_between(FIRST, LAST))
        for fault, rows in found.items():
            assert_frame_equal(rows.select(key).sort(key), planted.filter(fault=fault).select(key).sort(key))
        assert set(planted["fault"]) == {*found, "debt_in_per_cent", "yield_in_per_cent"}
        assert 0.003 < planted.height / told.height < 0.009
        assert sound["dividend_yield"].max() < 0.5
        debt = told.join(planted.filter(fault="debt_in_per_cent"), on=key).drop_nulls("debt_to_equity")
        assert debt["debt_to_equity"].min() > sound["debt_to_equity"].quantile(0.99)


class TestPlantedQuality:
    def test_a_better_company_has_the_better_books(self, sound: pl.DataFrame, truth: Truth) -> None:
        typical = sound.group_by("instrument_id", "sector").agg(
            pl.col("profit_margin", "return_on_equity", "debt_to_equity", "current_ratio", "revenue_growth").median()
        )
        books = typical.join(truth.quality(), on="instrument_id").with_columns(
            # Beyond what is usual in the sector.
            pl.col("profit_margin", "return_on_equity", "debt_to_equity").rank().over("sector")
        )

        def rank_correlation(name: str) -> float:
            return float(books.select(pl.corr("quality", name, method="spearman")).item())

        assert rank_correlation("profit_margin") > 0.5
        assert rank_correlation("return_on_equity") > 0.5
        assert rank_correlation("debt_to_equity") < -0.25
        assert rank_correlation("current_ratio") > 0.3

    def test_quality_predicts_mildly(self, truth: Truth) -> None:
        """Ranks of quality against returns of all the years a company lived: there is something to find, not much."""
        market = simulated_market(US, SEED, COMPANIES).reach(2800)
        books = books_of(US, SEED, COMPANIES).reach(2800)
        correlations = []
        for start in range(0, 2800 - 252, 252):
            end = start + 252
            alive = np.flatnonzero((books.first <= start) & (books.last >= end) & ~books.character.loner)
            slot = books.character.slot[alive]
            total = np.log(market.close[slot, end] * market.splits[slot, end])
            total -= np.log(market.close[slot, start] * market.splits[slot, start])
            total -= market.payouts[slot, end] - market.payouts[slot, start]
            correlations.append(np.corrcoef(books.character.quality[alive], total)[0, 1])

        assert 0.02 < np.mean(correlations) < 0.35

    def test_value_traps_are_cheap_shrinking_and_indebted(self, sound: pl.DataFrame, truth: Truth) -> None:
        typical = sound.group_by("instrument_id").agg(
            pl.col("price_to_sales", "revenue_growth", "debt_to_equity").median()
        )
        sides = (
            typical.join(truth.quality(), on="instrument_id")
            .group_by("value_trap")
            .agg(pl.len(), pl.col("price_to_sales", "revenue_growth", "debt_to_equity").median())
        )
        trap, other = (sides.row(by_predicate=pl.col("value_trap") == each, named=True) for each in (True, False))

        assert 3 <= trap["len"] < 0.2 * other["len"]
        assert trap["price_to_sales"] < 0.8 * other["price_to_sales"]
        assert trap["revenue_growth"] < other["revenue_growth"] - 0.02
        assert trap["debt_to_equity"] > 1.5 * other["debt_to_equity"]


class TestStatements:
    def test_a_year_is_the_sum_of_its_quarters_and_the_snapshot_agrees(
        self, provider: SimulatedProvider, symbols: list[str], sound: pl.DataFrame
    ) -> None:
        rows = provider.statements(US, symbols, now=NOW).rows
        income = rows.filter(item="net_income")
        quarters = (
            income.filter(frequency="quarterly")
            .sort("symbol", "period_end")
            .with_columns(
                year=pl.col("value").rolling_sum(4).over("symbol"),
                months=(pl.col("period_end") - pl.col("period_end").shift(3).over("symbol")).dt.total_days(),
            )
            .filter(pl.col("months") < 300)
        )
        both = quarters.join(income.filter(frequency="annual"), on=["symbol", "period_end"], suffix="_annual")
        latest = (
            quarters.group_by("symbol")
            .last()
            .join(sound.sort("session").drop_nulls("net_income").group_by("symbol").last(), on="symbol")
        )

        assert both.height > 800
        np.testing.assert_allclose(both["year"], both["value_annual"], rtol=1e-9)
        # The last filing may be later than the report that the snapshot knows.
        assert (np.abs(latest["year"] / latest["net_income"] - 1) < 1e-9).mean() > 0.8

    def test_nothing_is_available_before_it_is_reported_and_filed(
        self, provider: SimulatedProvider, symbols: list[str]
    ) -> None:
        rows = provider.statements(US, symbols, now=NOW).rows

        assert (rows["available_at"].dt.date() == rows["filed_on"]).all()
        lag = (rows["filed_on"] - rows["period_end"]).dt.total_days()
        assert lag.min() > 15
        assert lag.max() < 80


class TestReports:
    def jumps(self, truth: Truth, names: pl.DataFrame) -> pl.DataFrame:
        return truth.earnings().filter(pl.col("session").is_between(FIRST, LAST)).join(names, on="instrument_id")

    def test_the_session_that_trades_on_a_report_follows_from_its_date_and_timing(
        self, reports: pl.DataFrame, truth: Truth, names: pl.DataFrame
    ) -> None:
        pair = truth.pair()
        held = reports.filter(pl.col("eps_actual").is_not_null(), ~pl.col("symbol").is_in([pair.leader, pair.follower]))
        trades = held.with_columns(
            session=pl.when(timing="amc")
            .then(pl.col("report_date").map_elements(lambda day: EXCHANGE.offset(day, 1), return_dtype=pl.Date))
            .otherwise("report_date")
        ).filter(pl.col("session").is_between(FIRST, LAST))
        key = ["symbol", "session"]

        assert trades.height > 1_400
        assert set(trades["timing"]) == {"amc", "bmo"}
        assert_frame_equal(trades.select(key).sort(key), self.jumps(truth, names).select(key).sort(key))

    def test_a_result_is_out_between_the_close_before_and_the_open(self, reports: pl.DataFrame) -> None:
        held = reports.filter(pl.col("eps_actual").is_not_null())
        for timing, report_date, available_at in held.select("timing", "report_date", "available_at").iter_rows():
            if timing == "amc":
                assert timedelta(0) < available_at - EXCHANGE.close_at(report_date) < timedelta(hours=1)
            else:
                assert timedelta(minutes=59) < EXCHANGE.open_at(report_date) - available_at < timedelta(hours=3)

    def test_a_beat_usually_rises(self, reports: pl.DataFrame, truth: Truth, names: pl.DataFrame) -> None:
        surprise = (pl.col("eps_actual") - pl.col("eps_estimate")) / pl.col("eps_estimate").abs()
        held = reports.drop_nulls(["eps_actual", "eps_estimate"]).with_columns(
            surprise=surprise, session=pl.col("available_at").dt.date()
        )
        both = (
            held.sort("session")
            .join_asof(
                self.jumps(truth, names).sort("session").with_columns(trades="session"),
                on="session",
                by="symbol",
                strategy="forward",
                check_sortedness=False,
                tolerance="5d",
            )
            .drop_nulls("log_size")
        )

        agree = (both["surprise"].sign() == both["log_size"].sign()).mean()
        assert both.height > 1_200
        assert 0.75 < agree < 0.97
        ranked = both.select(pl.corr("surprise", "log_size", method="spearman")).item()
        assert 0.5 < ranked < 0.98, "larger surprises move more, noisily"

    def test_dates_are_confirmed_weeks_ahead_and_estimated_before(self, reports: pl.DataFrame) -> None:
        key = ["symbol", "fiscal_period"]
        confirmed = reports.filter(pl.col("confirmed") & pl.col("eps_actual").is_null()).group_by(key).first()
        estimated = reports.filter(~pl.col("confirmed")).group_by(key).first()
        result = reports.filter(pl.col("eps_actual").is_not_null())

        ahead = confirmed.join(result, on=key).select(
            (pl.col("report_date_right") - pl.col("available_at").dt.date()).dt.total_days()
        )
        assert ahead.to_series().quantile(0.02) >= 19
        assert ahead.to_series().max() <= 47
        both = confirmed.join(result, on=key)
        assert (both["report_date"] == both["report_date_right"]).all(), "the confirmed date holds"
        assert (both["timing"] == both["timing_right"]).all()

        guesses = estimated.join(result, on=key)
        off = (guesses["report_date"] - guesses["report_date_right"]).dt.total_days()
        assert 0.4 < (off != 0).mean() < 0.65
        assert off.abs().max() <= 16
        assert 0.2 < (guesses["timing"] == "unknown").mean() < 0.4
        earlier = guesses.filter(pl.col("available_at") >= pl.col("available_at_right"))
        assert earlier.is_empty()

    def test_the_next_report_is_known_after_the_last_one(self, reports: pl.DataFrame) -> None:
        ahead = reports.filter(pl.col("report_date") > LAST)

        assert ahead["symbol"].n_unique() > 110
        assert ahead["eps_actual"].null_count() == ahead.height
        assert ahead.group_by("symbol").agg(pl.col("fiscal_period").n_unique())["fiscal_period"].max() == 1

    def test_estimates_drift_towards_the_consensus(self, reports: pl.DataFrame) -> None:
        key = ["symbol", "fiscal_period"]
        versions = (
            reports.drop_nulls("eps_estimate")
            .group_by(key, maintain_order=True)
            .agg(pl.len(), first=pl.col("eps_estimate").first(), last=pl.col("eps_estimate").last())
        )

        assert versions["len"].mean() > 3.5
        assert (versions["first"] != versions["last"]).mean() > 0.85


class TestNews:
    def test_every_told_article_is_published_and_every_planted_one_is_told(
        self, articles: pl.DataFrame, planted: pl.DataFrame, names: pl.DataFrame
    ) -> None:
        key = ["article_id", "instrument_id"]
        told = articles.join(names, on="symbol").select(key)
        expected = planted.drop_nulls("article_id").select(key)

        # At the ends of the window: what is read on its first session was printed before it, and the other way round.
        assert told.height > 12_000
        assert told.join(expected, on=key, how="anti").height < 40
        assert expected.join(told, on=key, how="anti").height < 40

    def test_the_press_fails_at_the_stated_rates(self, truth: Truth) -> None:
        mishaps = (
            truth.articles()
            .filter(pl.col("about") != "noise")
            .group_by("subject_id", "shock_session", "about")
            .agg(pl.col("fault").first())
        )
        rate = {fault: (mishaps["fault"] == fault).mean() for fault in ("missing", "late", "misattributed")}

        assert mishaps.height > 7_000
        assert rate["missing"] == pytest.approx(MISSING, abs=0.012)
        assert rate["late"] == pytest.approx(LATE, abs=0.012)
        assert rate["misattributed"] == pytest.approx(MISATTRIBUTED, abs=0.01)
        for cause in ("macro", "sector", "company", "earnings"):
            some = mishaps.filter(about=cause)
            assert 0.65 < (some["fault"] == "none").mean() < 0.85, cause

    def test_every_shock_with_a_cause_has_its_article_or_is_missed_and_causeless_ones_have_none(
        self, truth: Truth
    ) -> None:
        caused = truth.shocks().filter(pl.col("cause") != "none")
        told = (
            truth.articles().filter(pl.col("about") != "noise").select("subject_id", "shock_session", "about").unique()
        )
        missed = caused.join(
            told,
            left_on=["instrument_id", "session", "cause"],
            right_on=["subject_id", "shock_session", "about"],
            how="anti",
        )
        invented = told.join(
            caused,
            left_on=["subject_id", "shock_session", "about"],
            right_on=["instrument_id", "session", "cause"],
            how="anti",
        )

        # Late stories about the last sessions are yet to come.
        assert missed.filter(pl.col("session") < date(2021, 6, 20)).is_empty()
        assert invented.is_empty()

    def test_sound_articles_can_be_read_on_the_session_and_late_ones_up_to_three_later(
        self, articles: pl.DataFrame, planted: pl.DataFrame, names: pl.DataFrame
    ) -> None:
        when = articles.join(names, on="symbol").select("article_id", "instrument_id", "available_at")
        both = planted.drop_nulls("shock_session").join(when, on=["article_id", "instrument_id"])
        closes = EXCHANGE.sessions
        ends = EXCHANGE.closes(closes)
        readable = closes[np.searchsorted(ends, both["available_at"].dt.replace_time_zone(None).to_numpy())]
        lag = np.searchsorted(closes, readable) - np.searchsorted(closes, both["shock_session"].to_numpy())
        late = (both["fault"] == "late").to_numpy()

        assert set(lag[~late].tolist()) == {0}
        assert set(lag[late].tolist()) == {1, 2, 3}

    def test_misattributed_articles_name_another_company_or_the_market(
        self, articles: pl.DataFrame, truth: Truth, names: pl.DataFrame
    ) -> None:
        companies = truth.companies().select("instrument_id", "name", "sector")
        wrong = (
            truth.articles()
            .filter(fault="misattributed", about="company")
            .filter(pl.col("session").is_between(FIRST, LAST))
            .join(names, on="instrument_id")
            .join(articles, on=["article_id", "symbol"])
            .join(companies, on="instrument_id")
            .join(companies, left_on="subject_id", right_on="instrument_id", suffix="_true")
        )
        elsewhere = wrong.filter(pl.col("instrument_id") != pl.col("subject_id"))

        assert wrong.height > 5
        assert not wrong.select(pl.col("title").str.contains(pl.col("name_true"), literal=True)).to_series().any()
        peers = elsewhere.filter(pl.col("sector") == pl.col("sector_true"))
        assert elsewhere.height > 0
        named = peers.select(
            pl.col("title").str.contains(pl.col("name").str.split(" ").list.first(), literal=True)
        ).to_series()
        assert named.mean() > 0.5

    def test_headlines_carry_no_label_and_say_the_direction_in_words(
        self, articles: pl.DataFrame, truth: Truth
    ) -> None:
        labels = r"\b(?:macro|causeless|misattributed|noise|simulated|truth)\b"
        assert not articles["title"].str.to_lowercase().str.contains(labels).any()
        assert articles["title"].str.len_chars().max() < 160
        assert not articles["title"].str.contains(r"[{}]").any()
        assert articles["title"].n_unique() > 5_000

    def test_scope_is_unsaid_for_a_third_and_sentiment_for_most(self, articles: pl.DataFrame) -> None:
        each = articles.unique("article_id")

        assert each["scope"].null_count() / each.height == pytest.approx(1 / 3, abs=0.03)
        assert each["provider_sentiment"].null_count() / each.height > 0.8
        assert each["provider_sentiment"].drop_nulls().is_between(-1, 1).all()
        assert set(each["scope"].drop_nulls()) == {"company", "sector", "market"}
        assert each["url"].str.contains(r"^https://[a-z-]+\.invalid/").all()
        assert each["url"].is_unique().all()

    def test_market_news_reach_many_and_stories_are_reprinted(
        self, articles: pl.DataFrame, planted: pl.DataFrame
    ) -> None:
        tags = planted.filter(about="macro", fault="none").group_by("article_id").len()
        assert tags["len"].min() > 20

        headline = pl.col("title").str.replace(r"^UPDATE 1-", "").str.replace(r" (?:-|\|) [A-Z][A-Za-z &]+$", "")
        day = pl.col("published_at").dt.date()
        stories = articles.unique("article_id").group_by(headline.alias("story"), day.alias("day"), "symbol").len()
        assert 0.1 < (stories["len"] > 1).mean() < 0.4

    def test_news_never_come_before_they_are_printed(self, articles: pl.DataFrame) -> None:
        delay = (articles["available_at"] - articles["published_at"]).dt.total_minutes()

        assert delay.min() >= 2
        assert delay.max() <= 15
