"""The promises, for every session asset: found in the definitions, each under the same properties.

*Range invariance*: one run over a range equals day-by-day runs. *No look-ahead*: another future moves no row of the
past. *Idempotence*: running twice changes nothing. The last tests show that each can fail. Crash safety and concurrency
are in `test_promises_under_fire.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline.research import indicators as indicator_science
from trading_pipeline.tables import ALL_TABLES, BACKTEST_TABLES
from trading_pipeline_tests.promises import (
    ASSETS,
    BARS_FROM,
    DERIVED,
    FIRST,
    LAST,
    SPAN,
    XNYS,
    OtherFuture,
    Site,
    differences,
    final_at,
)

NewSite = Callable[[], Site]


@pytest.fixture(scope="module")
def one_run(bare_site: NewSite) -> Site:
    """A site on which the whole history was filled, and the span published, by one run each."""
    site = bare_site()
    site.publish(BARS_FROM, FIRST, LAST)
    return site


def test_every_registered_asset_is_under_the_promises() -> None:
    """The market's declared tables of sessions and the assets without a table of their own: none is missing."""
    of_sessions = set(ALL_TABLES) - {table.name for table in BACKTEST_TABLES}
    assert of_sessions <= set(ASSETS)
    pages = {"daily_briefing", "tearsheets", "premarket_briefing"}
    assert set(ASSETS) - of_sessions == {"market_data", *pages}


@pytest.mark.parametrize("name", DERIVED)
def test_a_range_is_the_sum_of_its_days(name: str, one_run: Site, day_by_day: Site) -> None:
    assert differences(name, one_run.contents(name, SPAN), day_by_day.contents(name, SPAN)) == []


@pytest.mark.parametrize("name", DERIVED)
def test_rows_are_there_to_be_compared(name: str, one_run: Site) -> None:
    """An empty table would keep every promise."""
    assert one_run.contents(name, XNYS.between(BARS_FROM, LAST) if name in BARS_ASSETS else SPAN).height > 0


BARS_ASSETS = {
    *("corporate_actions", "bar_issues", "daily_bars", "market_data", "universe_members"),
    *("indicators", "fundamentals", "earnings_calendar", "news", "macro_series"),
}


@pytest.fixture(scope="module")
def other_future(begun_site: NewSite) -> Site:
    """A site whose provider says something else of every session after the first of the span."""
    site = begun_site()
    site.live_through(FIRST, LAST, twist=lambda provider: OtherFuture(provider, FIRST))
    return site


@pytest.mark.parametrize("name", DERIVED)
def test_another_future_moves_nothing_of_the_past(name: str, one_run: Site, other_future: Site) -> None:
    """Up to the session after which the provider tells another story, every row is the same."""
    past = XNYS.between(BARS_FROM, FIRST) if name in BARS_ASSETS else [FIRST]
    assert differences(name, one_run.contents(name, past), other_future.contents(name, past)) == []


def test_the_other_future_is_another_one(one_run: Site, other_future: Site) -> None:
    """What the test above compares against did differ."""
    for name in ("daily_bars", "fundamentals", "earnings_calendar", "news", "premarket_snapshots"):
        assert differences(name, one_run.contents(name, SPAN), other_future.contents(name, SPAN)), name


@pytest.fixture(scope="module")
def run_twice(begun_site: NewSite) -> tuple[Site, dict[str, pl.DataFrame]]:
    """A site on which the span was run twice, and what every asset held in between, clocks included."""
    site = begun_site()
    site.live_through(FIRST, LAST)
    before = {name: site.versions(name, SPAN) for name in ASSETS}
    site.live_through(FIRST, LAST, now=final_at(US, XNYS.offset(LAST, 1)))
    return site, before


@pytest.mark.parametrize("name", ASSETS)
def test_running_twice_changes_nothing(name: str, run_twice: tuple[Site, dict[str, pl.DataFrame]]) -> None:
    """Not even a clock: no version is added, no row is touched."""
    site, before = run_twice
    assert differences(name, before[name], site.versions(name, SPAN)) == []


UP_TO_INDICATORS = (
    *("universe_members", "received_bars", "received_actions"),
    *("daily_bars", "corporate_actions", "bar_issues", "indicators"),
)


class TestThatTheyCanFail:
    """Deliberately broken assets, and the property that catches each."""

    def test_an_average_over_the_run_is_caught_by_range_invariance(
        self, begun_site: NewSite, day_by_day: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It depends on which other sessions happen to be in the run."""
        plain = indicator_science.indicators
        monkeypatch.setattr(
            indicator_science,
            "indicators",
            lambda *given: plain(*given).with_columns(pl.col("close") - pl.col("close").mean()),
        )
        site = begun_site()
        site.run(jobs.end_of_day_name(US), FIRST, LAST, only=UP_TO_INDICATORS)
        assert differences("indicators", site.contents("indicators", SPAN), day_by_day.contents("indicators", SPAN))

    def test_tomorrows_close_is_caught_by_the_other_future(
        self, begun_site: NewSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = indicator_science.indicators

        def peeking(*given: pl.DataFrame) -> pl.DataFrame:
            tomorrow = pl.col("close").shift(-1).over("instrument_id", order_by="session").fill_null(pl.col("close"))
            return plain(*given).with_columns(close=tomorrow)

        monkeypatch.setattr(indicator_science, "indicators", peeking)
        sites = [begun_site(), begun_site()]
        sites[0].run(jobs.end_of_day_name(US), FIRST, LAST, only=UP_TO_INDICATORS)
        other = {"twist": lambda provider: OtherFuture(provider, FIRST), "only": UP_TO_INDICATORS}
        sites[1].run(jobs.end_of_day_name(US), FIRST, LAST, **other)
        first, second = (site.contents("indicators", [FIRST]) for site in sites)
        assert differences("indicators", first, second)

    def test_a_random_number_is_caught_by_idempotence(
        self, begun_site: NewSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import numpy as np

        plain = indicator_science.indicators
        noise = np.random.default_rng()
        monkeypatch.setattr(
            indicator_science, "indicators", lambda *given: plain(*given).with_columns(pl.col("close") + noise.random())
        )
        site = begun_site()
        site.run(jobs.end_of_day_name(US), FIRST, LAST, only=UP_TO_INDICATORS)
        before = site.versions("indicators", SPAN)
        site.run(jobs.end_of_day_name(US), FIRST, LAST, only=UP_TO_INDICATORS)
        assert differences("indicators", before, site.versions("indicators", SPAN))
