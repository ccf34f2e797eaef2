"""What a tick is handed: each bar once, when it was there to be had, and nothing that breaks a rule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.live.feed import FEED_BARS, LATE, LiveFeed, RecordedFeed, bars_of_provider, recorded_bars
from trading_pipeline.markets import US
from trading_pipeline.providers.base import Failure
from trading_pipeline.providers.errors import NotFound, ProviderDown
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, IntradayBatch
from trading_pipeline.providers.simulated import SimulatedProvider
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import INTRADAY_BARS

SESSION = date(2025, 9, 17)
OPEN, CLOSE = calendar("XNYS").open_at(SESSION), calendar("XNYS").close_at(SESSION)
MINUTE = timedelta(minutes=1)


def at(minute: float) -> datetime:
    return OPEN + minute * MINUTE


def bars(*rows: tuple[str, int, float], late: float = 0) -> pl.DataFrame:
    """`FEED_BARS`: (instrument, minute it starts at, close), available `late` minutes after its end."""
    frame = [
        (name, at(minute), close, close, close, close, 100.0, at(minute + 1 + late)) for name, minute, close in rows
    ]
    return pl.DataFrame(frame, schema=FEED_BARS, orient="row")


def handed(fed: pl.DataFrame) -> list[tuple[str, int]]:
    return [(name, (start - OPEN) // MINUTE) for name, start in fed.select("instrument_id", "started_at").iter_rows()]


def recorded(frame: pl.DataFrame) -> RecordedFeed:
    return RecordedFeed(frame, OPEN, CLOSE)


# --- recorded ---------------------------------------------------------------------------------------------------------


def test_a_bar_is_handed_to_the_first_tick_at_which_it_was_available():
    feed = recorded(pl.concat([bars(("A", 0, 1.0), ("A", 1, 1.0)), bars(("B", 0, 1.0), late=0.5)]))
    assert handed(feed.bars(at(1), at(1)).bars) == [("A", 0)]
    assert handed(feed.bars(at(2), at(2)).bars) == [("B", 0), ("A", 1)]
    assert handed(feed.bars(at(3), at(3)).bars) == []


def test_of_several_versions_the_first_counts():
    feed = recorded(pl.concat([bars(("A", 0, 2.0), late=30), bars(("A", 0, 1.0))]))
    assert feed.bars(at(60), at(60)).bars["close"].to_list() == [1.0]


def test_bars_outside_regular_hours_and_bars_that_were_not_over_are_left_out():
    early = bars(("A", -1, 1.0), ("A", 390, 1.0))
    forming = bars(("A", 5, 1.0), late=-0.5)
    feed = recorded(pl.concat([early, forming]))
    assert feed.is_empty


def test_a_recorded_feed_goes_on_after_the_last_tick():
    feed = recorded(bars(("A", 0, 1.0), ("A", 1, 1.0), ("A", 2, 1.0)))
    feed.resume(FEED_BARS_TAKEN, at(2))
    assert handed(feed.bars(at(3), at(3)).bars) == [("A", 2)]


FEED_BARS_TAKEN = pl.DataFrame(schema={"instrument_id": pl.String(), "started_at": FEED_BARS["started_at"]})


def test_rows_of_the_lake_become_a_feed_of_one_provider():
    def row(provider: str, minute: int, **changes: Any) -> dict[str, Any]:
        return {
            "session": SESSION, "instrument_id": "us:A", "ticker": "A", "provider": provider, "interval": "1m",
            "started_at": at(minute), "exchange_time": "", "phase": "regular", "open": 1.0, "high": 1.0, "low": 1.0,
            "close": 1.0, "volume": None, "forming": False, "available_at": at(minute + 1), "known_at": at(minute + 1),
        } | changes  # fmt: skip

    rows = pl.DataFrame(
        [
            row("yahoo", 0), row("yahoo", 1), row("alpaca", 0, close=2.0), row("alpaca", 1, forming=True),
            row("alpaca", 0, interval="5m"),
        ],
        schema=INTRADAY_BARS.schema,
    )  # fmt: skip
    assert recorded_bars(rows, ["alpaca"])["close"].to_list() == [2.0]
    assert recorded_bars(rows, ["yahoo"]).height == 2
    assert recorded_bars(rows).height == 1
    assert recorded_bars(rows.clear()).is_empty()


# --- live -------------------------------------------------------------------------------------------------------------


class Told:
    """A provider that tells the minutes it is given, with its lag, its failures and a memory of what it was asked."""

    name = "told"
    quota = None

    def __init__(self, *rows: tuple[str, int, float], lag: timedelta = timedelta(0)) -> None:
        self.rows, self.lag = list(rows), lag
        self.failures: list[Failure] = []
        self.down = False
        self.asked: list[datetime | None] = []
        self.hidden_until: dict[int, datetime] = {}

    def intraday_bars(
        self, market: Any, symbols: Sequence[str], sessions: Any, interval: Any, *, now: datetime,
        since: datetime | None = None, progress: Any = None,
    ) -> IntradayBatch:  # fmt: skip
        """What began by now, the forming bar included."""
        self.asked.append(since)
        if self.down:
            raise ProviderDown("The provider is down")
        rows = [
            (name, at(minute), close, close, close, close, 100.0)
            for name, minute, close in self.rows
            if at(minute) <= now and (since is None or at(minute) >= since)
            if self.hidden_until.get(minute, now) <= now
        ]
        return IntradayBatch(bars=pl.DataFrame(rows, schema=INTRADAY_SCHEMA, orient="row"), failures=self.failures)

    def reach(self, interval: Any) -> None: ...

    def covers(self, symbol: str) -> bool:
        return True


def live(provider: Told, *symbols: str) -> LiveFeed:
    return LiveFeed(provider, US, SESSION, {symbol: f"us:{symbol}" for symbol in symbols})


def test_a_poll_reaches_back_to_the_last_answer_and_hands_each_bar_once():
    provider = Told(*(("A", minute, 10.0) for minute in range(60)))
    feed = live(provider, "A")
    assert handed(feed.bars(at(1), at(1)).bars) == [("us:A", 0)]
    assert handed(feed.bars(at(2), at(2)).bars) == [("us:A", 1)]
    feed.bars(at(30), at(30))
    feed.bars(at(31), at(31))
    assert provider.asked == [OPEN, OPEN, OPEN, at(30) - LATE]


def test_a_bar_counts_when_it_is_over_and_the_provider_has_it():
    feed = live(Told(("A", 0, 10.0), lag=MINUTE), "A")
    assert handed(feed.bars(at(1), at(1)).bars) == []
    assert handed(feed.bars(at(2), at(2)).bars) == [("us:A", 0)]


def test_a_thin_minute_told_late_is_taken_when_it_is_told():
    provider = Told(("A", 0, 10.0), ("A", 1, 10.0))
    provider.hidden_until = {0: at(3)}
    feed = live(provider, "A")
    feed.bars(at(1), at(1))
    assert handed(feed.bars(at(2), at(2)).bars) == [("us:A", 1)]
    assert handed(feed.bars(at(3), at(3)).bars) == [("us:A", 0)]


def test_missed_ticks_are_handed_what_was_available_then_out_of_one_answer():
    provider = Told(*(("A", minute, 10.0) for minute in range(10)))
    feed = live(provider, "A")
    assert [handed(feed.bars(at(minute), at(5)).bars) for minute in (1, 2, 3)] == [
        [("us:A", 0)], [("us:A", 1)], [("us:A", 2)],
    ]  # fmt: skip
    assert len(provider.asked) == 1


def test_a_feed_goes_on_without_what_was_taken_before():
    feed = live(Told(*(("A", minute, 10.0) for minute in range(5))), "A")
    feed.resume(bars(("us:A", 0, 10.0), ("us:A", 1, 10.0)).select("instrument_id", "started_at"), at(2))
    assert handed(feed.bars(at(3), at(3)).bars) == [("us:A", 2)]


def test_an_outage_is_told_and_made_up_for():
    provider = Told(*(("A", minute, 10.0) for minute in range(10)))
    feed = live(provider, "A")
    feed.bars(at(1), at(1))
    provider.down = True
    fed = feed.bars(at(4), at(4))
    assert (fed.bars.height, fed.trouble) == (0, "told: The provider is down")
    provider.down = False
    fed = feed.bars(at(5), at(5))
    assert (handed(fed.bars), fed.trouble) == ([("us:A", minute) for minute in range(1, 5)], None)


def test_a_name_that_fails_for_now_is_asked_for_again_from_where_it_failed():
    provider = Told(*(("A", minute, 10.0) for minute in range(60)))
    feed = live(provider, "A", "B", "C")
    provider.failures = [Failure("C", NotFound("C is unknown"))]
    feed.bars(at(20), at(20))
    provider.failures += [Failure("B", ProviderDown("B timed out"))]
    assert feed.bars(at(40), at(40)).trouble == "told: not found, provider down for 2 of 3 names"
    provider.failures = provider.failures[:1]
    feed.bars(at(50), at(50))
    feed.bars(at(51), at(51))
    assert provider.asked == [OPEN, at(20) - LATE, at(20) - LATE, at(50) - LATE]


def test_bars_that_break_a_rule_never_reach_a_tick():
    provider = Told(("A", 0, 10.0), ("A", 1, -1.0), ("A", 2, float("nan")))
    assert handed(live(provider, "A").bars(at(10), at(10)).bars) == [("us:A", 0)]


def test_the_simulated_market_feeds_a_session_whole_and_bit_by_bit():
    market = SimulatedProvider(1, 20)
    provider = market.intraday
    members = market.members(US, market.universe_keys(US)[0], [SESSION])
    ids = {symbol: f"us:{symbol}" for symbol in members["ticker"].unique().sort().to_list()[:5]}
    whole = bars_of_provider(provider, US, SESSION, ids, datetime(2025, 9, 18, tzinfo=UTC))
    feed = LiveFeed(provider, US, SESSION, ids)
    parts = [feed.bars(at(minute), at(minute)).bars for minute in range(1, 40)]
    taken = pl.concat(parts).sort("instrument_id", "started_at")
    told = whole.filter(pl.col("started_at") < at(39)).sort("instrument_id", "started_at")
    # What the feed was late with by then is in the whole session alone.
    assert taken.join(told, on=["instrument_id", "started_at"], how="anti").is_empty()
    assert taken.height > 0.95 * told.height > 0
    prices = ["open", "high", "low", "close"]
    assert taken.select("instrument_id", "started_at", *prices).equals(
        told.join(taken, on=["instrument_id", "started_at"], how="semi").select("instrument_id", "started_at", *prices)
    )


def test_a_provider_without_the_session_is_refused():
    with pytest.raises(InputRefused, match="tells no one-minute bar of 2025-09-17"):
        bars_of_provider(Told(), US, SESSION, {"A": "us:A"}, CLOSE)
