"""Tearsheets and the briefing from a real lake: what is gathered, where pages go, which links the briefing makes."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from trading_pipeline.markets import US
from trading_pipeline.reports import daily, tearsheets
from trading_pipeline.settings import Settings
from trading_pipeline.storage import files
from trading_pipeline.storage.reader import bars
from trading_pipeline.tables import CORPORATE_ACTIONS, DAILY_BARS
from trading_pipeline.world import World
from trading_pipeline_tests.briefings import SESSION, SESSIONS, analysis_rows, dip_rows, earnings_rows, score_rows
from trading_pipeline_tests.tearsheets import fundamental_rows, indicator_rows, member_rows, news_rows

NOW = datetime(2024, 7, 6, 1, 30, tzinfo=UTC)
EVENING = datetime(2024, 7, 5, 22, 0, tzinfo=UTC)


def bar_rows(ticker: str, days: list[date]) -> pl.DataFrame:
    """A price that rises by one a session, a split of 2 in the middle of it."""
    split = len(days) // 2
    close = [float(100 + n) / (1 if n < split else 2) for n in range(len(days))]
    clocks = {"available_at": EVENING.replace(year=2020), "known_at": EVENING.replace(year=2020)}
    shared = {"ticker": ticker, "currency": "USD", "provider": "simulated", "rules": "", "superseded_at": None}
    rows = [
        {
            "session": day,
            "instrument_id": f"us:{ticker}",
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": 1e6,
            "provisional": False,
            "data_quality": "good",
            **shared,
            **clocks,
        }
        for day, price in zip(days, close, strict=True)
    ]
    return pl.DataFrame(rows, schema=DAILY_BARS.schema)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any) -> Iterator[World]:
    """A world whose lake holds one session of decisions and a price history of one name."""
    url = embedded_server.url(f"test_{uuid.uuid4().hex[:12]}")
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"), database_url=url, tearsheet_count=3, _env_file=None)
    world = World(settings, clock=lambda: NOW)
    lake, dips = world.lake, dip_rows()
    for name, frame in {
        "screener_scores": score_rows(),
        "dip_opportunities": dips,
        "dip_analysis": analysis_rows(dips),
    }.items():
        lake.publish("us", name, [SESSION], frame, EVENING)
    for name, frame in {
        "fundamentals": fundamental_rows(),
        "earnings_calendar": earnings_rows(dips),
        "news": news_rows(),
        "indicators": indicator_rows(),
        "universe_members": member_rows(),
    }.items():
        lake.replace("us", name, [SESSION], frame)
    lake.replace("us", "daily_bars", SESSIONS, bar_rows("TOPS", SESSIONS))
    split = {
        "session": SESSIONS[len(SESSIONS) // 2],
        "instrument_id": "us:TOPS",
        "ticker": "TOPS",
        "kind": "split",
        "value": 2.0,
        "currency": "USD",
        "provider": "simulated",
        "withdrawn": False,
        "rules": "",
        "available_at": EVENING.replace(year=2020),
        "known_at": EVENING.replace(year=2020),
        "superseded_at": None,
    }
    lake.replace("us", "corporate_actions", SESSIONS, pl.DataFrame([split], schema=CORPORATE_ACTIONS.schema))
    yield world
    world.close()


def test_pages_are_made_of_what_the_lake_holds_of_the_session(world: World) -> None:
    pages = tearsheets.tearsheet_pages(world, US, SESSION)
    chosen = {f"us:{place.rpartition('/')[2].removesuffix('.html')}" for place in list(pages)[:-1]}
    assert chosen == {*dip_rows().filter("on_desk")["instrument_id"], "us:TOPS", "us:QEN", "us:WATCH", "us:THIN"}
    leader = pages[tearsheets.place_of(US, SESSION, "TOPS")]
    assert "Topsail Instruments" in leader
    assert "Tops Works cuts its outlook" in leader
    assert "leader 1" in leader


def test_the_price_chart_is_adjusted_for_splits_and_averages_reach_back_before_it(world: World) -> None:
    prices = tearsheets.gather(world, US, SESSION).prices
    assert prices["instrument_id"].unique().to_list() == ["us:TOPS"]
    assert prices.height == 252
    raw = bars(world.lake, "us", SESSIONS, as_of=NOW, adjust="splits").sort("session")["close"]
    assert prices["close"].to_list() == raw[-252:].to_list()
    assert prices["close"].diff().drop_nulls().min() > 0
    assert prices["sma_50"][0] is None
    assert prices["sma_50"][1] == pytest.approx(raw[:50].mean())
    assert prices["sma_200"].null_count() == 252 - (len(SESSIONS) - 199)


def test_the_briefing_links_to_the_pages_that_exist(world: World) -> None:
    assert "<a " not in daily.briefing_page(world, US, SESSION)
    pages = tearsheets.tearsheet_pages(world, US, SESSION)
    left_over = tearsheets.place_of(US, SESSION, "QIL")
    for place, page in [*pages.items(), (tearsheets.place_of(US, SESSION, "GONE"), "")]:
        if place != left_over:
            files.put_text(world.settings, place, page)

    briefing = daily.briefing_page(world, US, SESSION)

    linked = set(re.findall(r'<a [^>]*href="\.\./([^"]+)"', briefing))
    made = {place.removeprefix("us/reports/") for place in pages if place != left_over}
    assert linked <= made
    assert linked == {f"tearsheets/{SESSION}.html"} | {
        place for place in made if re.search(rf">{re.escape(place.rpartition('/')[2][:-5])}</a>", briefing)
    }
    assert any(place.endswith("/TOPS.html") for place in linked)


def test_a_session_of_which_nothing_is_known_makes_an_index_alone(world: World) -> None:
    before = SESSIONS[-2]
    pages = tearsheets.tearsheet_pages(world, US, before)
    assert list(pages) == [tearsheets.index_place(US, before)]
    briefing = daily.briefing_page(world, US, before)
    assert "No scores were published for this session" in briefing
    assert "No earnings calendar is at hand" in briefing


def test_as_many_pages_as_a_session_needs_take_seconds_on_one_core(world: World) -> None:
    """60 pages in well under 15 s: measured 0.2 s; the limit leaves room for a busy machine."""
    started = time.process_time()
    pages = tearsheets.tearsheet_pages(world, US, SESSION)
    assert (time.process_time() - started) / len(pages) < 0.1
