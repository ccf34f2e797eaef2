"""Minutes of the simulated market: they add up to the day, say the same whenever asked, and hold what truth says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.errors import UnknownSession
from trading_pipeline.markets import ASX, US, Market
from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.errors import EmptyWindow, NotFound, RateLimited
from trading_pipeline.providers.intraday import IntradayBatch, IntradayProvider
from trading_pipeline.providers.simulated import SimulatedProvider, Truth
from trading_pipeline.providers.simulated.minutes import IntradayTruth, SimulatedMinutes
from trading_pipeline.sessions import calendar

SEED, COMPANIES = 20160314, 60
DAY = date(2021, 6, 29)
LATER = datetime(2021, 9, 1, tzinfo=UTC)
WEEKS = (date(2021, 5, 24), date(2021, 6, 29))
KEY = ["symbol", "started_at"]
PRICES = ["open", "high", "low", "close"]
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def provider() -> SimulatedProvider:
    return SimulatedProvider(SEED, COMPANIES)


@pytest.fixture(scope="module")
def truth(provider: SimulatedProvider) -> IntradayTruth:
    return Truth(provider, US, DAY).intraday(*WEEKS)


@pytest.fixture(scope="module")
def day(provider: SimulatedProvider) -> IntradayBatch:
    return ask(provider)


def ask(
    provider: SimulatedProvider,
    symbols: list[str] | None = None,
    sessions: list[date] | None = None,
    interval: str = "1m",
    now: datetime = LATER,
    market: Market = US,
    since: datetime | None = None,
) -> IntradayBatch:
    sessions = sessions or [DAY]
    symbols = provider.symbols(market, min(sessions), LATER.date()) if symbols is None else symbols
    return provider.intraday.intraday_bars(market, symbols, sessions, interval, now=now, since=since)


def regular(bars: pl.DataFrame, market: Market = US) -> pl.DataFrame:
    exchange = calendar(market.exchange)
    session = pl.col("started_at").dt.convert_time_zone(str(exchange.timezone)).dt.date()
    bars = bars.with_columns(session=session)
    hours = pl.DataFrame(
        [(each, exchange.open_at(each), exchange.close_at(each)) for each in bars["session"].unique().to_list()],
        schema={"session": pl.Date, "opens": pl.Datetime("us", "UTC"), "closes": pl.Datetime("us", "UTC")},
        orient="row",
    )
    inside = pl.col("started_at").is_between("opens", "closes", closed="left")
    return bars.join(hours, on="session").filter(inside).drop("opens", "closes").sort(KEY)


def whole_days(bars: pl.DataFrame) -> pl.DataFrame:
    return (
        bars.group_by("symbol", "session")
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        .sort("symbol", "session")
    )


def true_days(provider: SimulatedProvider, market: Market, sessions: list[date]) -> pl.DataFrame:
    """The daily bars before faults, as traded, by the symbol of `LATER`."""
    simulation = provider.simulation(market)
    register, told = simulation.register, simulation.position(LATER.date(), after=True) - 1
    positions = [simulation.position(each) for each in sessions]
    rows = []
    for position in positions:
        simulation.reach(position)
        company_of = [(row, simulation.name_of_row(row)) for row in simulation.index_rows]
        company_of += [
            (company.slot, company.symbol_at(told))
            for company in register.companies
            if company.first <= position and (company.last is None or company.last >= position)
        ]
        for row, symbol in company_of:
            panels = (simulation.open, simulation.high, simulation.low, simulation.close, simulation.volume)
            rows.append(
                (symbol, simulation.sessions[position].item(), *(float(each[row, position]) for each in panels))
            )
    schema = ["symbol", "session", *PRICES, "volume"]
    return pl.DataFrame(rows, schema=schema, orient="row").sort("symbol", "session")


def test_it_fits_the_protocol(provider: SimulatedProvider) -> None:
    minutes: IntradayProvider = provider.intraday
    assert minutes.name == "simulated" and minutes.reach("1m") is None and minutes.lag == timedelta(0)
    assert minutes.covers("Q1001.AX") and minutes.covers("^QVOL") and not minutes.covers("AAPL")


class TestMinutesAddUpToTheDay:
    @pytest.mark.parametrize(
        ("market", "sessions"),
        [
            (US, calendar("XNYS").between(date(2021, 6, 14), DAY)),
            (US, [date(2020, 11, 27), date(2020, 12, 24), date(2010, 1, 4)]),
            (ASX, [date(2020, 12, 24), date(2020, 12, 31), date(2021, 4, 6)]),
        ],
        ids=["two weeks", "half-days and the first session", "Sydney and its half-days"],
    )
    def test_to_the_cent_and_to_the_share(
        self, provider: SimulatedProvider, market: Market, sessions: list[date]
    ) -> None:
        expected = true_days(provider, market, sessions)
        bars = ask(provider, expected["symbol"].unique().to_list(), sessions, market=market).bars
        nulls = regular(bars, market).filter(pl.col("close").is_null()).select("symbol", "session").unique()

        told = whole_days(regular(bars, market)).join(nulls, on=["symbol", "session"], how="anti")

        assert_frame_equal(told, expected.join(nulls, on=["symbol", "session"], how="anti"), check_exact=True)
        assert nulls.height < 0.1 * expected.height

    def test_on_the_day_of_a_split_too(self, provider: SimulatedProvider) -> None:
        splits = Truth(provider, US, DAY).actions().filter(pl.col("kind") == "split")
        sessions = splits["session"].tail(6).unique().sort().to_list()
        expected = true_days(provider, US, sessions)
        bars = ask(provider, expected["symbol"].unique().to_list(), sessions).bars.drop_nulls()
        assert_frame_equal(
            whole_days(regular(bars)).select("symbol", "session", "open", "close"),
            expected.select("symbol", "session", "open", "close"),
            abs_tol=0.5,
        )
        first = bars.group_by("symbol", pl.col("started_at").dt.date().alias("session")).agg(pl.col("open").first())
        gap = first.join(expected, on=["symbol", "session"]).select((pl.col("open") / pl.col("open_right")).log().abs())
        assert gap["open"].max() < 0.5, "a pre-market in the basis of the day before would be off by log 2"

    def test_the_planted_faults_of_daily_bars_are_not_in_their_minutes(self, provider: SimulatedProvider) -> None:
        faults = Truth(provider, US, DAY).faults().filter(pl.col("fault") == "hundredfold").tail(1)
        symbol, session = faults.row(0)[1], faults.row(0)[0]
        now = calendar("XNYS").close_at(session) + timedelta(hours=5)
        daily = provider.daily_bars([SymbolRequest(symbol, session, session)], now=now).bars
        minutes = regular(ask(provider, [symbol], [session], now=now).bars)
        assert daily["close"].item() == pytest.approx(100 * minutes["close"][-1])

    def test_bars_are_consistent_whole_cents_and_in_order(self, day: IntradayBatch) -> None:
        sound = day.bars.drop_nulls()
        assert sound.filter((pl.col("high") < pl.max_horizontal(PRICES)) | (pl.col("low") > pl.min_horizontal(PRICES)))[
            "symbol"
        ].is_empty()
        assert sound.select((pl.col(PRICES) * 100 - (pl.col(PRICES) * 100).round()).abs().max()).to_series()[0] < 1e-6
        assert day.bars.select(pl.struct(KEY).is_unique().all()).item() and day.bars.equals(day.bars.sort(KEY))
        assert day.basis == "as_traded" and not day.failures

    @pytest.mark.parametrize(("interval", "every"), [("5m", "5m"), ("15m", "15m")])
    def test_longer_bars_are_the_resampled_minutes(
        self, provider: SimulatedProvider, day: IntradayBatch, interval: str, every: str
    ) -> None:
        spoiled = day.bars.filter(pl.col("close").is_null()).select("symbol", pl.col("started_at").dt.truncate(every))
        resampled = (
            day.bars.group_by("symbol", pl.col("started_at").dt.truncate(every))
            .agg(pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
                 pl.col("volume").sum())
            .sort(KEY)
        )  # fmt: skip
        longer = ask(provider, interval=interval).bars
        assert longer.height == resampled.height and longer["close"].null_count() == 0
        assert_frame_equal(
            longer.join(spoiled, on=KEY, how="anti"), resampled.join(spoiled, on=KEY, how="anti"), check_exact=True
        )


class TestTheShapeOfADay:
    def test_new_york_trades_from_four_to_eight_and_four_hours_past_an_early_close(
        self, provider: SimulatedProvider
    ) -> None:
        for session, last_hour in ((DAY, 20), (date(2020, 11, 27), 17)):
            bars = ask(provider, ["QINDEX"], [session]).bars
            clock = bars["started_at"].dt.convert_time_zone("America/New_York").dt.time()
            assert clock.min().hour == 4 and clock.max().hour == last_hour - 1

    def test_sydney_does_not_trade_outside_its_hours(self, provider: SimulatedProvider) -> None:
        bars = ask(provider, sessions=[date(2021, 6, 29)], market=ASX).bars
        assert bars.height == regular(bars, ASX).height > 10_000

    def test_the_volatility_index_has_a_price_in_every_regular_minute_and_no_volume(self, day: IntradayBatch) -> None:
        index = day.bars.filter(symbol="^QVOL")
        assert index.height == 390 and index["volume"].unique().to_list() == [0.0]

    def test_volume_and_range_are_u_shaped(self, day: IntradayBatch) -> None:
        bars = regular(day.bars.drop_nulls()).filter(pl.col("volume") > 0)
        shares = pl.col("volume") / pl.col("volume").sum().over("symbol")
        by_minute = (
            bars.with_columns(share=shares, range=(pl.col("high") - pl.col("low")) / pl.col("open"))
            .group_by("started_at")
            .agg(pl.col("share", "range").mean())
            .sort("started_at")
        )
        share, range_ = by_minute["share"].to_numpy(), by_minute["range"].to_numpy()
        assert share[:30].mean() > 1.5 * share[150:240].mean() and share[-30:].mean() > 1.2 * share[150:240].mean()
        assert range_[:15].mean() > 1.5 * range_[150:240].mean()

    def test_outside_regular_hours_trading_is_thin_with_gaps(self, day: IntradayBatch) -> None:
        inside = regular(day.bars).select(KEY)
        outside = day.bars.join(inside, on=KEY, how="anti").filter(pl.col("symbol").str.starts_with("Q1"))
        minutes = outside.group_by("symbol").len()["len"]
        assert 20 < minutes.median() < 400 and outside["volume"].min() >= 1
        shares = outside["volume"].sum() / day.bars.filter(pl.col("symbol").str.starts_with("Q1"))["volume"].sum()
        assert 0.005 < shares < 0.08

    def test_the_pre_market_leads_from_the_close_before_to_the_open(self, provider: SimulatedProvider) -> None:
        sessions = calendar("XNYS").between(date(2021, 6, 1), DAY)
        days = true_days(provider, US, sessions).with_columns(before=pl.col("close").shift(1).over("symbol"))
        bars = ask(provider, days["symbol"].unique().to_list(), sessions).bars.drop_nulls()
        early = (
            bars.join(regular(bars).select(KEY), on=KEY, how="anti")
            .with_columns(local=pl.col("started_at").dt.convert_time_zone("America/New_York"))
            .filter(pl.col("local").dt.hour() < 10)
            .group_by("symbol", session=pl.col("local").dt.date())
            .agg(last=pl.col("close").last())
            .join(days.drop_nulls(), on=["symbol", "session"])
            .with_columns(gap=(pl.col("open") / pl.col("before")).log(), left=(pl.col("open") / pl.col("last")).log())
        )
        wide = early.filter(pl.col("gap").abs() > 0.01)
        assert wide.height > 100
        assert (wide["left"].abs() < 0.5 * wide["gap"].abs()).mean() > 0.9

    def test_a_company_has_no_pre_market_before_its_first_session(self, provider: SimulatedProvider) -> None:
        companies = Truth(provider, US, DAY).companies().filter(pl.col("listed_on") > date(2012, 1, 1))
        _, symbol, _, _, listed_on, *_ = companies.row(-1)
        bars = ask(provider, [symbol], [listed_on], now=calendar("XNYS").close_at(DAY)).bars
        assert bars["started_at"].min() == calendar("XNYS").open_at(listed_on)


class TestTheSameWheneverAsked:
    def test_another_market_size_company_window_or_time_of_asking_changes_nothing(
        self, provider: SimulatedProvider, day: IntradayBatch
    ) -> None:
        symbols = ["QINDEX", "Q1007", "^QVOL", "Q1012"]
        expected = day.bars.filter(pl.col("symbol").is_in(symbols))
        again = ask(SimulatedProvider(SEED, COMPANIES), symbols, [date(2021, 6, 25), DAY, date(2021, 6, 30)]).bars
        assert_frame_equal(
            again.filter(pl.col("started_at").is_between(expected["started_at"].min(), expected["started_at"].max())),
            expected,
            check_exact=True,
        )

    def test_a_bigger_market_begins_with_the_same_minutes(self) -> None:
        small, large = SimulatedProvider(SEED, 30), SimulatedProvider(SEED, 45)
        first = date(2010, 1, 12)
        now = datetime(2010, 1, 13, tzinfo=UTC)
        assert_frame_equal(
            ask(small, ["Q1003", "Q1020"], [first], now=now).bars.drop_nulls(),
            ask(large, ["Q1003", "Q1020"], [first], now=now).bars.drop_nulls(),
            check_exact=True,
        )

    @pytest.mark.parametrize("interval", ["1m", "5m", "15m"])
    def test_what_was_over_is_told_the_same_later(
        self, provider: SimulatedProvider, interval: str, day: IntradayBatch
    ) -> None:
        length = timedelta(minutes=int(interval[:-1]))
        whole = ask(provider, interval=interval).bars
        opens = calendar("XNYS").open_at(DAY)
        for seconds in (-5 * 3600, -600, 37, 61, 3600, 10_203, 23_399, 23_400, 30_000):
            now = opens + timedelta(seconds=seconds)
            told = ask(provider, interval=interval, now=now).bars
            assert told["started_at"].max() is None or told["started_at"].max() <= now
            told = told.filter(pl.col("started_at").dt.second() == 0)
            over = told.filter(pl.col("started_at") + length <= now)
            assert_frame_equal(over, whole.join(over.select(KEY), on=KEY, how="semi"), check_exact=True)
            missing = whole.filter(pl.col("started_at") + length <= now).join(over.select(KEY), on=KEY, how="anti")
            assert missing.height <= 0.02 * max(over.height, 500), "only late and stale ones are missing"

    def test_a_forming_bar_tells_a_part_of_what_it_becomes(
        self, provider: SimulatedProvider, day: IntradayBatch
    ) -> None:
        start = calendar("XNYS").open_at(DAY) + 47 * MINUTE
        final = day.bars.filter(pl.col("started_at") == start)
        before = None
        for seconds in (6, 18, 30, 45, 59):
            told = ask(provider, now=start + timedelta(seconds=seconds), since=start).bars
            forming = told.filter(pl.col("started_at") == start).join(final, on=KEY).drop_nulls()
            assert forming.height > 50
            assert forming.filter(
                (pl.col("open") != pl.col("open_right"))
                | (pl.col("high") > pl.col("high_right"))
                | (pl.col("low") < pl.col("low_right"))
                | ~pl.col("close").is_between(pl.col("low"), pl.col("high"))
                | (pl.col("volume") > pl.col("volume_right"))
            ).is_empty()
            if before is not None:
                grown = forming.join(before, on="symbol", suffix="_before")
                assert (grown["high"] >= grown["high_before"]).all() and (grown["low"] <= grown["low_before"]).all()
                assert (grown["volume"] >= grown["volume_before"]).all()
            before = forming
        assert ((before["high"] == before["high_right"]) & (before["low"] == before["low_right"])).all()

    def test_a_forming_longer_bar_holds_the_minutes_so_far(self, provider: SimulatedProvider) -> None:
        start = calendar("XNYS").open_at(DAY) + 45 * MINUTE
        now = start + timedelta(minutes=7, seconds=20)
        minutes = ask(provider, now=now, since=start).bars.filter(pl.col("started_at").dt.second() == 0)
        longer = ask(provider, interval="15m", now=now, since=start).bars.filter(pl.col("started_at") == start)
        volumes = minutes.drop_nulls().group_by("symbol").agg(pl.col("volume").sum(), pl.col("close").last())
        both = longer.join(volumes, on="symbol")
        equal = (both["volume"] == both["volume_right"]) & (both["close"] == both["close_right"])
        assert both.height > 50 and equal.mean() > 0.95

    def test_since_cuts_and_nothing_is_told_of_the_future(
        self, provider: SimulatedProvider, day: IntradayBatch
    ) -> None:
        since = calendar("XNYS").open_at(DAY) + 100 * MINUTE
        assert_frame_equal(ask(provider, since=since).bars, day.bars.filter(pl.col("started_at") >= since))
        before = datetime(2021, 6, 28, 23, 59, tzinfo=UTC)
        assert ask(provider, ["QINDEX"], now=before).bars.is_empty()
        (failure,) = ask(provider, ["QINDEX"], now=before).failures
        assert isinstance(failure.error, EmptyWindow)


class TestWhoIsAsked:
    def test_a_symbol_that_was_given_up_is_not_found_and_the_new_one_has_its_past(
        self, provider: SimulatedProvider
    ) -> None:
        session, _, old, new = Truth(provider, US, DAY).renames().row(-1)
        before = calendar("XNYS").offset(session, -1)
        at_eight = calendar("XNYS").open_at(session) - timedelta(minutes=90)
        assert ask(provider, [old], [before], now=at_eight - timedelta(days=1)).bars.height >= 0
        (failure,) = ask(provider, [old], [before], now=at_eight).failures
        assert isinstance(failure.error, NotFound) and new in failure.error.remedy
        assert ask(provider, [new], [before], now=at_eight).bars.height > 300

    def test_a_delisted_company_keeps_its_past(self, provider: SimulatedProvider) -> None:
        gone = Truth(provider, US, DAY).companies().drop_nulls("last_session")
        _, symbol, *_, last, _ = gone.row(-1)
        after = calendar("XNYS").offset(last, 1)
        bars = ask(provider, [symbol], [last, after]).bars
        assert bars.height > 300 and bars["started_at"].dt.date().max() <= after

    def test_strangers_and_closed_days_are_refused(self, provider: SimulatedProvider) -> None:
        (failure,) = ask(provider, ["AAPL"]).failures
        assert isinstance(failure.error, NotFound)
        with pytest.raises(UnknownSession):
            ask(provider, ["QINDEX"], [date(2021, 7, 4)])

    def test_progress_and_requests_are_told(self, provider: SimulatedProvider) -> None:
        told: list[tuple[int, int]] = []
        batch = provider.intraday.intraday_bars(
            US, ["QINDEX", "QINDEX", "^QVOL"], [DAY], "5m", now=LATER,
            progress=lambda done, total: told.append((done, total)),
        )  # fmt: skip
        assert told == [(2, 2)] and batch.http_calls >= 2


class TestTruth:
    def test_a_reverting_excursion_is_given_back_and_a_lasting_one_is_not(
        self, provider: SimulatedProvider, truth: IntradayTruth
    ) -> None:
        found = truth.excursions().filter(pl.col("size").abs() > 0.002)
        bars = ask(provider, found["ticker"].unique().to_list(), found["session"].unique().to_list(), now=LATER).bars
        closes = bars.select("symbol", "started_at", "close")

        def close_at(minutes: int) -> pl.DataFrame:
            moment = closes.with_columns(started_at=pl.col("started_at") - minutes * MINUTE)
            return moment.rename({"close": f"at_{minutes}", "symbol": "ticker"})

        for minutes in (-1, 0, 15):
            found = found.join(close_at(minutes), on=["ticker", "started_at"])
        given_back = found.with_columns(
            share=1 - (pl.col("at_15") / pl.col("at_-1")).log() / (pl.col("at_0") / pl.col("at_-1")).log()
        )
        medians = dict(given_back.group_by("kind").agg(pl.col("share").median()).iter_rows())
        assert found.height > 200 and medians["reverting"] > 0.7 and abs(medians["lasting"]) < 0.2

    def test_a_trend_goes_all_day_and_other_far_moves_do_not(
        self, provider: SimulatedProvider, truth: IntradayTruth
    ) -> None:
        sessions = calendar("XNYS").between(*WEEKS)[-15:]
        bars = regular(ask(provider, sessions=sessions).bars.drop_nulls())
        steps = bars.group_by("symbol", "session", half=pl.col("started_at").dt.truncate("30m")).agg(
            step=(pl.col("close").last() / pl.col("open").first()).log()
        )
        evenness = steps.group_by("symbol", "session").agg(
            evenness=pl.col("step").sum().abs() / pl.col("step").pow(2).sum().sqrt(), net=pl.col("step").sum()
        )
        trends = truth.trend_days().select(symbol="ticker", session="session", direction="direction")
        told = evenness.join(trends, on=["symbol", "session"], how="left")
        of_trends = told.filter(pl.col("direction").is_not_null())
        assert of_trends.height > 60
        assert of_trends["evenness"].median() > 1.4 * told.filter(pl.col("direction").is_null())["evenness"].median()
        assert ((of_trends["net"] > 0) == (of_trends["direction"] == "up")).mean() > 0.95

    def test_nothing_trades_in_a_halt(self, provider: SimulatedProvider, truth: IntradayTruth) -> None:
        halts = truth.halts()
        assert halts.height > 3
        for session, ticker, _, start, end in halts.head(8).rows():
            moments = ask(provider, [ticker], [session]).bars["started_at"]
            assert moments.is_between(start, end, closed="left").sum() == 0
            assert (moments == end).sum() == 1 and (moments == start - MINUTE).sum() == 1

    def test_a_stale_feed_tells_nothing_new_until_it_is_back(
        self, provider: SimulatedProvider, truth: IntradayTruth
    ) -> None:
        stale = truth.stale_feeds().filter(pl.col("ticker").str.starts_with("Q1"))
        assert stale.height > 3
        for session, ticker, _, start, end in stale.head(5).rows():
            just_before = ask(provider, [ticker], [session], now=end - timedelta(seconds=1)).bars
            assert just_before.filter(pl.col("started_at").dt.second() == 0)["started_at"].max() < start
            assert ask(provider, [ticker], [session], now=end + 2 * MINUTE).bars["started_at"].max() >= end

    def test_an_outage_holds_everybody_up(self, provider: SimulatedProvider) -> None:
        session = date(2021, 7, 29)
        stale = Truth(provider, US, session).intraday(session, session).stale_feeds()
        begins, ends, count = stale.group_by("from", "to").agg(pl.len()).sort("len").row(-1)
        assert count > COMPANIES * 0.8
        newest = ask(provider, sessions=[session], now=ends - timedelta(seconds=1)).bars
        assert newest.filter(pl.col("started_at").dt.second() == 0)["started_at"].max() < begins
        assert ask(provider, sessions=[session], now=ends).bars["started_at"].max() == ends - MINUTE

    def test_a_late_bar_is_told_late(self, provider: SimulatedProvider, truth: IntradayTruth) -> None:
        late = truth.late_bars()
        assert late.height > 10 and (late["told_at"] - late["started_at"] > MINUTE).all()
        for session, ticker, _, started_at, told_at in late.head(5).rows():
            at_times = [
                (ask(provider, [ticker], [session], now=now).bars["started_at"] == started_at).any()
                for now in (started_at + timedelta(seconds=90), told_at - timedelta(seconds=1), told_at)
            ]
            assert at_times == [False, False, True]

    def test_null_and_double_rows_are_where_truth_says(self, provider: SimulatedProvider, truth: IntradayTruth) -> None:
        sessions = calendar("XNYS").between(*WEEKS)[-15:]
        batch = ask(provider, sessions=sessions, now=LATER)
        for fault, told in (
            ("null_bar", batch.bars.filter(pl.col("close").is_null() & pl.col("volume").is_not_null())),
            ("duplicate", batch.duplicates),
        ):
            planted = truth.faults().filter((pl.col("fault") == fault) & pl.col("session").is_in(sessions))
            assert planted.height > 5
            assert (
                told.select("symbol", "started_at").rows()
                == planted.select("ticker", "started_at").sort("ticker", "started_at").rows()
            )

    def test_a_quote_off_the_grid_is_told_where_truth_says(
        self, provider: SimulatedProvider, truth: IntradayTruth
    ) -> None:
        off_grid = truth.faults().filter((pl.col("fault") == "off_grid") & (pl.col("session") == DAY))["ticker"]
        assert len(off_grid) > 0
        now = calendar("XNYS").open_at(DAY) + timedelta(minutes=67, seconds=23, milliseconds=400)
        for interval in ("1m", "5m"):
            bars = ask(provider, interval=interval, now=now).bars
            odd = bars.filter(pl.col("started_at").dt.second() != 0)
            assert odd["symbol"].to_list() == sorted(off_grid) and (odd["volume"] == 0).all()
            assert odd["started_at"].unique().to_list() == [now.replace(microsecond=0)]
            assert (odd["high"] == odd["low"]).all()

    def test_storms_pass_at_the_second_attempt(self, provider: SimulatedProvider, truth: IntradayTruth) -> None:
        session, half_hour, _ = truth.storms().row(0)
        storm = truth.storms().filter(session=session, half_hour=half_hour)["ticker"].to_list()
        local = datetime.combine(session, datetime.min.time(), calendar("XNYS").timezone) + half_hour * 30 * MINUTE
        impatient = SimulatedMinutes(SimulatedProvider(SEED, COMPANIES), attempts=1)
        symbols = [*storm, "Q1001"]

        def failed() -> set[str]:
            batch = impatient.intraday_bars(US, symbols, [session], "1m", now=local + MINUTE)
            return {each.symbol for each in batch.failures if isinstance(each.error, RateLimited)}

        assert failed() == set(storm) and failed() == set()
        patient = SimulatedProvider(SEED, COMPANIES).intraday
        batch = patient.intraday_bars(US, symbols, [session], "1m", now=local + MINUTE)
        assert batch.http_calls == len(set(symbols)) + len(storm)
        assert not [each for each in batch.failures if isinstance(each.error, RateLimited)]

    def test_the_ceiling_is_above_chance_and_below_certainty(self, truth: IntradayTruth) -> None:
        ceiling = truth.ceiling()
        shares = dict(ceiling.select("pattern", "ceiling").iter_rows())
        planted = dict(ceiling.select("pattern", "planted").iter_rows())
        assert set(shares) == {"reverting", "lasting", "trend", "ordinary"} and min(planted.values()) > 100
        for one, other in (("reverting", "lasting"), ("trend", "ordinary")):
            together = planted[one] + planted[other]
            right = (shares[one] * planted[one] + shares[other] * planted[other]) / together
            assert max(planted[one], planted[other]) / together < right < 0.95

    def test_no_simple_finder_beats_the_ceiling(self, provider: SimulatedProvider, truth: IntradayTruth) -> None:
        found = truth.excursions()
        ceiling = truth.ceiling().filter(pl.col("pattern").is_in(["reverting", "lasting"]))
        best = (ceiling["planted"] * ceiling["ceiling"]).sum() / ceiling["planted"].sum()
        lasting = (found["kind"] == "lasting").to_numpy()
        by_surge = [float(((found["surge"].to_numpy() > limit) == lasting).mean()) for limit in np.linspace(0.5, 8, 40)]
        assert max(by_surge) <= best + 1e-9 and max(by_surge) > best - 0.1

    def test_it_says_the_same_of_a_session_whatever_was_asked_with_it(self, provider: SimulatedProvider) -> None:
        whole = Truth(provider, US, DAY)
        alone, among = whole.intraday(DAY, DAY), whole.intraday(date(2021, 6, 21), date(2021, 12, 31))
        for name in ("excursions", "trend_days", "halts", "stale_feeds", "late_bars", "faults", "storms"):
            one, other = getattr(alone, name)(), getattr(among, name)()
            assert_frame_equal(one, other.filter(pl.col("session") == DAY))
