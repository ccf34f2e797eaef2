"""What the simulated provider says: the same of a session whenever and however it is asked, with the planted faults."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.errors import UnknownName, UnknownSession
from trading_pipeline.markets import ASX, US, Market
from trading_pipeline.providers.base import BarProvider, DailyBarsBatch, SymbolRequest, UniverseProvider
from trading_pipeline.providers.errors import EmptyWindow, NotFound, RateLimited
from trading_pipeline.providers.simulated import SimulatedProvider, Truth
from trading_pipeline.providers.simulated.market import simulated_market
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.sessions import calendar

SEED, COMPANIES = 20160314, 120
FIRST, LAST = date(2010, 1, 4), date(2021, 6, 30)
NOW = datetime(2021, 6, 30, 23, 0, tzinfo=UTC)
PRICES = ["open", "high", "low", "close"]


@pytest.fixture
def provider() -> SimulatedProvider:
    return SimulatedProvider(SEED, COMPANIES)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(SimulatedProvider(SEED, COMPANIES), US, LAST)


@pytest.fixture(scope="module")
def everything() -> DailyBarsBatch:
    return ask(SimulatedProvider(SEED, COMPANIES), SimulatedProvider(SEED, COMPANIES).symbols(US, FIRST, LAST))


def ask(
    provider: SimulatedProvider,
    symbols: list[str],
    first: date = FIRST,
    last: date = LAST,
    now: datetime = NOW,
) -> DailyBarsBatch:
    return provider.daily_bars([SymbolRequest(symbol, first, last) for symbol in symbols], now=now)


def by_instrument(batch: DailyBarsBatch, companies: pl.DataFrame) -> pl.DataFrame:
    """What was said as traded, whatever the symbols and the splits were when it was asked."""
    traded, _, _ = undo_splits(batch.bars, batch.actions, batch.basis)
    names = companies.select("instrument_id", symbol="ticker")
    return (
        traded.join(names, on="symbol")
        .select("instrument_id", "session", pl.col(*PRICES).round(6), pl.col("volume").round(3))
        .sort("instrument_id", "session")
    )


def test_it_fits_the_protocols(provider: SimulatedProvider) -> None:
    checked: BarProvider = provider
    assert checked.name == "simulated"
    assert isinstance(provider, UniverseProvider)
    assert provider.latest_session(US, NOW) is None


class TestTheSameWheneverAsked:
    def test_a_session_is_told_the_same_years_later(
        self, provider: SimulatedProvider, everything: DailyBarsBatch
    ) -> None:
        then = datetime(2015, 3, 12, 22, 0, tzinfo=UTC)
        named_then, named_now = (Truth(provider, US, day).companies() for day in (then.date(), LAST))

        early = by_instrument(ask(provider, provider.symbols(US, FIRST, then.date()), now=then), named_then)

        late = by_instrument(everything, named_now).filter(pl.col("session") <= then.date())
        assert early.height > 120_000
        assert not named_then["ticker"].is_in(named_now["ticker"].implode()).all(), "some were renamed since"
        assert_frame_equal(early, late, abs_tol=1e-6)

    def test_where_no_split_lies_between_the_answer_is_the_same_to_the_bit(
        self, provider: SimulatedProvider, everything: DailyBarsBatch
    ) -> None:
        split = everything.actions.filter(kind="split")["symbol"].unique().implode()
        symbols = everything.bars.filter(~pl.col("symbol").is_in(split))["symbol"].unique().sort().to_list()
        then = calendar("XNYS").close_at(date(2021, 3, 1)) + timedelta(hours=2)
        known = [symbol for symbol in symbols if symbol in provider.symbols(US, FIRST, then.date())]

        early = ask(provider, known, now=then).bars.drop("adj_close")

        late = everything.bars.filter(pl.col("symbol").is_in(known) & (pl.col("session") <= then.date()))
        assert_frame_equal(early, late.drop("adj_close"), check_exact=True)

    @pytest.mark.parametrize("symbols", [["Q1005"], ["Q1044", "Q1007", "^QVOL"], ["QINDEX", "Q1001"]])
    @pytest.mark.parametrize(
        "window", [(date(2012, 2, 3), date(2012, 2, 3)), (date(2011, 12, 30), date(2013, 1, 5)), (FIRST, LAST)]
    )
    def test_other_windows_and_other_company_change_nothing(
        self, provider: SimulatedProvider, everything: DailyBarsBatch, symbols: list[str], window: tuple[date, date]
    ) -> None:
        inside = pl.col("symbol").is_in(symbols) & pl.col("session").is_between(*window)

        part = ask(provider, symbols, *window)

        assert_frame_equal(part.bars, everything.bars.filter(inside), check_exact=True)
        assert_frame_equal(part.actions, everything.actions.filter(inside), check_exact=True)

    def test_a_process_that_asked_less_far_before_says_the_same(self, everything: DailyBarsBatch) -> None:
        simulated_market.cache_clear()
        provider = SimulatedProvider(SEED, COMPANIES)
        ask(provider, ["Q1005"], now=datetime(2010, 5, 6, 23, tzinfo=UTC))
        provider.members(US, "SIM100", [date(2013, 8, 1)])

        again = ask(provider, provider.symbols(US, FIRST, LAST))

        assert_frame_equal(again.bars, everything.bars, check_exact=True)
        assert_frame_equal(again.actions, everything.actions, check_exact=True)
        assert_frame_equal(again.duplicates, everything.duplicates, check_exact=True)

    def test_another_seed_is_another_market(self, everything: DailyBarsBatch) -> None:
        other = ask(SimulatedProvider(7, COMPANIES), ["QINDEX"]).bars["close"]

        ours = everything.bars.filter(symbol="QINDEX")["close"]
        assert np.corrcoef(np.diff(np.log(other[:2000])), np.diff(np.log(ours[:2000])))[0, 1] < 0.1

    def test_a_window_asked_twice_in_one_batch_comes_once(self, provider: SimulatedProvider) -> None:
        requests = [
            SymbolRequest("Q1001", date(2012, 1, 3), date(2012, 1, 31)),
            SymbolRequest("Q1001", date(2012, 1, 17), date(2012, 2, 14)),
        ]

        bars = provider.daily_bars(requests, now=NOW).bars

        expected = calendar("XNYS").between(date(2012, 1, 3), date(2012, 2, 14))
        assert bars["session"].to_list() == expected


class TestTheClock:
    SESSION = date(2019, 11, 29)  # a half-day: 9:30 to 13:00 in New York

    def at(self, provider: SimulatedProvider, hour: int, minute: int = 0, symbol: str = "Q1001") -> pl.DataFrame:
        now = datetime(2019, 11, 29, hour, minute, tzinfo=calendar("XNYS").timezone)
        return ask(provider, [symbol], date(2019, 11, 27), date(2019, 12, 31), now).bars

    def test_before_the_open_there_is_no_bar_and_nothing_is_told_of_the_future(
        self, provider: SimulatedProvider
    ) -> None:
        assert self.at(provider, 9, 29)["session"].to_list() == [date(2019, 11, 27)]

    def test_the_bar_of_the_session_under_way_grows_into_the_final_one(self, provider: SimulatedProvider) -> None:
        moments = [(9, 30), (10, 0), (12, 0), (12, 59), (13, 0), (13, 29), (13, 30), (20, 0)]
        forming = [self.at(provider, *moment).filter(session=self.SESSION).row(0, named=True) for moment in moments]

        final = forming[-1]
        assert forming[-2] == final, "the late prints are in after the lag"
        assert forming[-3]["close"] == final["close"]
        assert forming[-3]["volume"] < final["volume"]
        assert [bar["open"] for bar in forming] == [final["open"]] * len(forming)
        volumes, highs, lows = ([bar[name] for bar in forming] for name in ("volume", "high", "low"))
        assert volumes[0] == 0
        assert volumes == sorted(volumes)
        assert highs == sorted(highs)
        assert lows == sorted(lows, reverse=True)
        assert all(bar["low"] <= min(bar["open"], bar["close"]) for bar in forming)
        assert all(bar["high"] >= max(bar["open"], bar["close"]) for bar in forming)

    def test_a_weekend_and_a_holiday_have_no_bar(self, provider: SimulatedProvider) -> None:
        for day in (date(2019, 11, 28), date(2019, 11, 30)):
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=calendar("XNYS").timezone)
            assert day not in ask(provider, ["QINDEX"], now=noon).bars["session"].to_list()

    def test_before_the_first_session_nothing_is_known(self, provider: SimulatedProvider) -> None:
        batch = ask(provider, ["QINDEX", "Q1001"], now=datetime(2009, 12, 31, 20, tzinfo=UTC))

        assert batch.bars.is_empty()
        assert len(batch.failures) == 2

    def test_a_clock_beyond_the_calendar_is_refused(self, provider: SimulatedProvider) -> None:
        with pytest.raises(UnknownSession, match="extend the table"):
            ask(provider, ["Q1001"], now=datetime(2040, 1, 2, tzinfo=UTC))


class TestSplitsAndDividends:
    def test_a_split_divides_the_past_once_its_ex_date_has_opened(
        self, provider: SimulatedProvider, truth: Truth
    ) -> None:
        split = truth.actions().filter(pl.col("value") >= 2, kind="split").row(-1, named=True)
        symbol, ratio, ex_date = split["ticker"], split["value"], split["session"]
        opens = calendar("XNYS").open_at(ex_date)
        week = (ex_date - timedelta(days=7), ex_date + timedelta(days=7))

        before = ask(provider, [symbol], *week, now=opens - timedelta(seconds=1))
        after = ask(provider, [symbol], *week, now=opens)

        assert before.actions.is_empty()
        assert after.actions.select("session", "value").row(0) == (ex_date, ratio)
        past = after.bars.filter(pl.col("session") < ex_date)
        np.testing.assert_allclose(past["close"] * ratio, before.bars["close"], rtol=1e-12)
        np.testing.assert_allclose(past["volume"] / ratio, before.bars["volume"], rtol=1e-12)
        jump = np.log(after.bars["open"][past.height] / past["close"][-1])
        assert abs(jump) < 0.15, "no jump in the basis of the answer"

    def test_undoing_the_splits_gives_prices_to_the_cent(self, everything: DailyBarsBatch) -> None:
        assert everything.actions.filter(kind="split").height > 20

        traded, _, refused = undo_splits(everything.bars, everything.actions, everything.basis)

        off_the_cent = traded.select((pl.col(*PRICES) * 100 - (pl.col(*PRICES) * 100).round()).abs().max())
        assert max(off_the_cent.row(0)) < 1e-6
        assert refused.is_empty()

    def test_adj_close_follows_from_the_actions(self, everything: DailyBarsBatch, truth: Truth) -> None:
        spoiled = truth.faults()["ticker"].unique().implode()
        dividends = everything.actions.filter(kind="dividend").select("symbol", "session", amount="value")
        derived = (
            everything.bars.filter(~pl.col("symbol").is_in(spoiled))
            .join(dividends, on=["symbol", "session"], how="left")
            .sort("symbol", "session")
            .with_columns(
                step=(1 - pl.col("amount") / pl.col("close").shift(1).over("symbol")).fill_null(1.0),
            )
            .with_columns(
                factor=pl.col("step").shift(-1).fill_null(1.0).reverse().cum_prod().reverse().over("symbol"),
            )
        )

        assert derived.filter(pl.col("amount").is_not_null()).height > 300
        np.testing.assert_allclose(derived["close"] * derived["factor"], derived["adj_close"], rtol=1e-9)

    def test_the_actions_of_the_answer_are_the_true_ones(self, everything: DailyBarsBatch, truth: Truth) -> None:
        told = everything.actions.filter(pl.col("symbol") != "QINDEX")
        true = truth.actions().filter(pl.col("ticker") != "QINDEX")

        assert told.height == true.height > 1500
        assert (
            told.filter(kind="split")["value"].sort().to_list() == true.filter(kind="split")["value"].sort().to_list()
        )
        assert true.filter(kind="split").filter(pl.col("value") < 1).height > 0, "reverse splits as well"


class TestSymbols:
    def test_every_symbol_asked_ends_in_the_bars_or_in_the_failures(self, provider: SimulatedProvider) -> None:
        symbols = [*provider.symbols(US, FIRST, LAST), "Q9999", "AAPL", "q1001", "Q1001.AX", "^QVOL.AX", "Q10 1"]

        batch = ask(provider, symbols)

        failed = {failure.symbol: type(failure.error) for failure in batch.failures}
        assert failed == dict.fromkeys(("Q9999", "AAPL", "q1001", "^QVOL.AX", "Q10 1"), NotFound)
        assert set(batch.bars["symbol"]) | set(failed) == set(symbols)

    def test_a_rename_moves_the_whole_history_to_the_new_symbol(
        self, provider: SimulatedProvider, truth: Truth
    ) -> None:
        rename = truth.renames().row(3, named=True)
        old, new, opens = rename["from_ticker"], rename["to_ticker"], calendar("XNYS").open_at(rename["session"])

        before = ask(provider, [old, new], now=opens - timedelta(minutes=1))
        after = ask(provider, [old, new], now=opens)

        assert [(failure.symbol, type(failure.error)) for failure in before.failures] == [(new, NotFound)]
        assert [(failure.symbol, type(failure.error)) for failure in after.failures] == [(old, NotFound)]
        assert new in str(after.failures[0].error)
        assert after.bars["session"][0] == before.bars["session"][0]
        assert after.bars["session"][-1] == rename["session"]

    def test_a_delisted_company_keeps_its_history(self, provider: SimulatedProvider, truth: Truth) -> None:
        gone = truth.companies().filter(pl.col("last_session") < date(2018, 1, 1)).row(0, named=True)

        bars = ask(provider, [gone["ticker"]]).bars
        later = ask(provider, [gone["ticker"]], date(2018, 1, 2), LAST)

        assert bars["session"][-1] == gone["last_session"]
        assert [type(failure.error) for failure in later.failures] == [EmptyWindow]

    def test_a_company_is_unknown_before_it_lists(self, provider: SimulatedProvider, truth: Truth) -> None:
        young = truth.companies().filter(pl.col("listed_on") > date(2014, 1, 1)).row(0, named=True)
        opens = calendar("XNYS").open_at(young["listed_on"])

        before = ask(provider, [young["ticker"]], now=opens - timedelta(minutes=1))
        after = ask(provider, [young["ticker"]])

        assert [type(failure.error) for failure in before.failures] == [NotFound]
        assert after.bars["session"][0] == young["listed_on"]

    def test_no_symbol_could_be_a_real_one(self, provider: SimulatedProvider, everything: DailyBarsBatch) -> None:
        for real in ("SPY", "AAPL", "QQQ", "BRK.B", "^VIX", "BHP.AX", "A2M.AX", "STW.AX", "BTC-USD", "Q", "700.HK"):
            assert not provider.covers(real)
        assert all(provider.covers(symbol) for symbol in everything.bars["symbol"].unique())
        assert all(provider.covers(symbol) for symbol in provider.symbols(ASX, FIRST, LAST))

    def test_the_renames_chain_from_the_first_symbol(self, provider: SimulatedProvider) -> None:
        spans = provider.renames

        assert spans["symbol"].is_unique().all()
        chains = spans.group_by("first_symbol", maintain_order=True).agg(
            pl.col("symbol").first(), pl.len(), follows=(pl.col("valid_from") > pl.col("valid_to").shift(1)).all()
        )
        assert (chains["first_symbol"] == chains["symbol"]).all()
        assert chains["len"].min() == 2
        assert chains["follows"].all()
        assert {symbol.endswith(".AX") for symbol in spans["symbol"]} == {True, False}


class TestFaults:
    def test_what_is_wrong_with_the_bars_is_what_was_planted_and_nothing_else(
        self, everything: DailyBarsBatch, truth: Truth
    ) -> None:
        bars = everything.bars.filter(pl.col("symbol") != "^QVOL")
        key = ["symbol", "session"]
        open_, high, low, close = (pl.col(name) for name in PRICES)
        found = {
            "null_bar": bars.filter(close.is_null() & (pl.col("volume") > 0)),
            "hundredfold": bars.filter((close / close.shift(1).over("symbol") > 30).fill_null(value=False)),
            "frozen_bar": bars.filter(pl.col("volume") == 0).filter((open_ == close) & (high == low)),
            "ohlc_inconsistent": bars.filter((high < pl.max_horizontal(open_, close)) | (low > close) | (low > open_)),
            "duplicate": everything.duplicates,
            "missing_session": self.expected(truth).join(bars, on=key, how="anti"),
        }

        planted = truth.faults().join(self.latest_symbols(truth), on="instrument_id")
        for fault, rows in found.items():
            expected = planted.filter(fault=fault).select(key).sort(key)
            assert expected.height > 10
            assert_frame_equal(rows.select(key).sort(key), expected)
        assert set(found) == set(planted["fault"])

    def latest_symbols(self, truth: Truth) -> pl.DataFrame:
        return truth.companies().select("instrument_id", symbol="ticker")

    def expected(self, truth: Truth) -> pl.DataFrame:
        sessions = pl.DataFrame({"session": calendar("XNYS").between(FIRST, LAST)})
        return (
            truth.companies()
            .join_where(
                sessions,
                pl.col("session") >= pl.col("listed_on"),
                pl.col("session") <= pl.col("last_session").fill_null(LAST),
            )
            .select(pl.col("ticker").alias("symbol"), "session")
        )

    def test_faults_are_sparse(self, everything: DailyBarsBatch, truth: Truth) -> None:
        assert 0.0003 < truth.faults().height / everything.bars.height < 0.0006

    def test_no_fault_lies_beside_an_action(self, truth: Truth) -> None:
        sessions = calendar("XNYS").sessions
        faults, actions = (
            frame.with_columns(place=pl.Series(np.searchsorted(sessions, frame["session"].to_numpy())))
            for frame in (truth.faults(), truth.actions())
        )

        near = faults.join(actions, on="instrument_id").filter((pl.col("place") - pl.col("place_right")).abs() <= 1)

        assert near.is_empty()

    def test_a_storm_refuses_the_first_request_and_lets_the_next_one_pass(
        self, provider: SimulatedProvider, truth: Truth
    ) -> None:
        day, hit = truth.storms(date(2021, 1, 4), LAST).group_by("asked_on").agg("ticker").sort("asked_on").row(0)
        symbols = provider.symbols(US, day, day)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=calendar("XNYS").timezone)
        impatient = SimulatedProvider(SEED, COMPANIES, attempts=1)

        first = ask(impatient, symbols, day, day, noon)
        second = ask(impatient, symbols, day, day, noon)
        patient = ask(provider, symbols, day, day, noon)

        refused = {failure.symbol for failure in first.failures if isinstance(failure.error, RateLimited)}
        assert refused
        assert set(hit) <= refused
        assert not any(isinstance(failure.error, RateLimited) for failure in second.failures + patient.failures)
        assert_frame_equal(patient.bars, second.bars, check_exact=True)
        assert patient.http_calls == len(symbols) + len(refused)
        assert second.http_calls == len(symbols)


class TestUniverses:
    SESSIONS = calendar("XNYS").between(date(2012, 3, 20), date(2016, 10, 10))

    @pytest.mark.parametrize(
        ("universe", "low", "high"), [("SIM_ALL", 114, 120), ("SIM100", 96, 100), ("SIM_MEGA", 9, 10)]
    )
    def test_counts_are_sane_on_every_session(
        self, provider: SimulatedProvider, universe: str, low: int, high: int
    ) -> None:
        members = provider.members(US, universe, self.SESSIONS)

        counts = members.group_by("session").len()
        assert counts.height == len(self.SESSIONS)
        assert counts["len"].is_between(low, high).all()
        assert members.select("session", "ticker").is_unique().all()
        assert members["sector"].n_unique() == (11 if universe != "SIM_MEGA" else members["sector"].n_unique())
        assert set(members["source"]) == {"simulated"}

    def test_nobody_is_a_member_before_its_listing_or_after_its_end(
        self, provider: SimulatedProvider, truth: Truth
    ) -> None:
        members = provider.members(US, "SIM_ALL", self.SESSIONS)
        gone = truth.companies().filter(pl.col("last_session").is_between(self.SESSIONS[0], self.SESSIONS[-1]))
        new = truth.companies().filter(pl.col("listed_on").is_between(self.SESSIONS[1], self.SESSIONS[-1]))

        spans = members.group_by("ticker").agg(first=pl.col("session").min(), last=pl.col("session").max())

        assert gone.height > 5
        assert new.height > 5
        ends = gone.join(spans, on="ticker")
        assert (ends["last"] == ends["last_session"]).all()
        renamed = truth.renames()["from_ticker"]
        begins = new.join(spans, on="ticker").filter(~pl.col("instrument_id").is_in([f"us:{name}" for name in renamed]))
        assert (begins["first"] == begins["listed_on"]).all()

    def test_members_are_called_what_they_were_called_then(self, provider: SimulatedProvider, truth: Truth) -> None:
        rename = (
            truth.renames().filter(pl.col("session").is_between(self.SESSIONS[1], self.SESSIONS[-1])).row(0, named=True)
        )
        eve = calendar("XNYS").offset(rename["session"], -1)

        members = provider.members(US, "SIM_ALL", [eve, rename["session"]])

        assert rename["from_ticker"] in members.filter(session=eve)["ticker"]
        assert rename["to_ticker"] not in members.filter(session=eve)["ticker"]
        assert rename["to_ticker"] in members.filter(session=rename["session"])["ticker"]

    def test_indices_change_at_the_start_of_a_quarter_only(self, provider: SimulatedProvider, truth: Truth) -> None:
        members = provider.members(US, "SIM100", self.SESSIONS).join(
            pl.concat(
                [
                    truth.companies().select("instrument_id", "ticker"),
                    truth.renames().select("instrument_id", ticker="from_ticker"),
                ]
            ),
            on="ticker",
        )
        by_session = {key[0]: set(rows["instrument_id"]) for key, rows in members.group_by("session")}

        joined = {
            today
            for eve, today in zip(self.SESSIONS, self.SESSIONS[1:], strict=False)
            if by_session[today] - by_session[eve]
        }

        quarter = calendar("XNYS")
        assert len(joined) > 10
        assert all(quarter.offset(day, -1).month != day.month and day.month in (1, 4, 7, 10) for day in joined)

    def test_the_index_holds_larger_companies_than_the_rest_and_the_mega_caps_are_inside(
        self, provider: SimulatedProvider
    ) -> None:
        day = [date(2014, 4, 1)]
        everyone, index, mega = (set(provider.members(US, key, day)["ticker"]) for key in provider.universe_keys(US))

        assert mega < index < everyone
        value = self.traded_value(provider, sorted(everyone), day[0])
        assert value(index) > 3 * value(everyone - index)
        assert value(mega) > value(index)

    def traded_value(self, provider: SimulatedProvider, symbols: list[str], day: date) -> Callable[[set[str]], float]:
        now = calendar("XNYS").close_at(day) + timedelta(hours=1)
        bars = ask(provider, symbols, day - timedelta(days=30), day, now).bars
        value = bars.group_by("symbol").agg((pl.col("close") * pl.col("volume")).median().alias("value"))
        return lambda names: value.filter(pl.col("symbol").is_in(sorted(names)))["value"].median()  # type: ignore[return-value]

    def test_unknown_universes_and_sessions_are_refused(self, provider: SimulatedProvider) -> None:
        with pytest.raises(UnknownName, match="SIM100"):
            provider.members(US, "SPX500", [date(2014, 4, 1)])
        with pytest.raises(UnknownSession, match="holiday"):
            provider.members(US, "SIM100", [date(2014, 12, 25)])
        assert provider.members(US, "SIM100", []).is_empty()


class TestAustralia:
    def test_it_is_another_market_with_its_own_calendar_currency_and_suffix(self, provider: SimulatedProvider) -> None:
        symbols = provider.symbols(ASX, FIRST, LAST)
        batch = ask(provider, symbols, date(2018, 1, 1), date(2018, 12, 31))

        assert {symbol[-3:] for symbol in symbols} == {".AX"}
        assert set(batch.bars["currency"]) == {"AUD"}
        index = batch.bars.filter(symbol="QINDEX.AX")["session"].to_list()
        assert index == calendar("XASX").between(date(2018, 1, 1), date(2018, 12, 31))
        assert provider.index_tickers(ASX) == ("QINDEX.AX", None)
        assert provider.index_tickers(US) == ("QINDEX", "^QVOL")
        assert provider.members(ASX, "SIM100", [date(2018, 1, 2)]).height == 100

    @pytest.mark.parametrize("market", [US, ASX])
    def test_both_markets_are_answered_in_one_batch(self, provider: SimulatedProvider, market: Market) -> None:
        both = ask(provider, ["Q1001", "Q1001.AX"], date(2018, 1, 1), date(2018, 12, 31)).bars

        alone = ask(provider, [f"Q1001{market.ticker_suffix}"], date(2018, 1, 1), date(2018, 12, 31)).bars
        assert_frame_equal(both.filter(symbol=f"Q1001{market.ticker_suffix}"), alone, check_exact=True)
        assert both["symbol"].n_unique() == 2
