"""What the sensors notice and ask for, and what the runs they ask for do: on real sites, with real materializations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.automation import jobs, sensors
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import DAILY_BARS, INDICATORS, MARKET_REGIME, RECEIVED_BARS
from trading_pipeline_tests.promises import Site, final_at
from trading_pipeline_tests.ticks import Changed, Down, Hiding, Sensor, fulfil

XNYS = calendar("XNYS")
DAY = date(2024, 3, 15)
END_OF_DAY = jobs.end_of_day_name(US)

NewSite = Callable[[], Site]


def on(offset: int) -> date:
    """The session `offset` sessions after the last one of every site's past."""
    return XNYS.offset(DAY, offset)


def evening(session: date) -> datetime:
    """An hour after the end-of-day run of a session would have started."""
    return datetime.combine(session, datetime.min.time(), XNYS.timezone).replace(hour=19).astimezone(UTC)


def span(request: dg.RunRequest | str) -> tuple[date, date]:
    """The sessions of a requested run."""
    assert isinstance(request, dg.RunRequest), request
    first, last = (request.tags[tag] for tag in (sensors.RANGE_START, sensors.RANGE_END))
    return date.fromisoformat(first), date.fromisoformat(last)


@pytest.fixture(scope="module")
def past(new_site: NewSite) -> Site:
    """A site with bars of nine sessions, decisions on the last two."""
    site = new_site()
    site.publish(on(-8), on(-1), on(0))
    return site


@pytest.fixture(scope="module")
def symbol(past: Site) -> str:
    """A name that every universe of the site's past holds throughout."""
    members = past.contents("universe_members", [on(0)])
    return str(members.filter(pl.col("universe") == "SIM_MEGA")["ticker"].sort()[0])


@pytest.fixture
def site(past: Site, new_site: NewSite) -> Site:
    """A site of one's own with that past, on which Dagster remembers it."""
    mine = past.copy_to(new_site())
    for name in ("daily_bars", "dip_opportunities", "daily_briefing"):
        for session in sensors.materialized_sessions(past.instance, dg.AssetKey(["us", name])):
            event = dg.AssetMaterialization(dg.AssetKey(["us", name]), partition=session.isoformat())
            mine.instance.report_runless_asset_event(event)
    return mine


class TestCatchUp:
    def test_where_nothing_was_ever_published_there_is_nothing_to_catch_up(self, new_site: NewSite) -> None:
        assert Sensor(new_site(), "us_catch_up").tick(evening(on(0))) == "Nothing was published yet."

    def test_a_published_past_is_not_reached_behind(self, past: Site) -> None:
        """There are bars, but no decisions, of seven sessions before the first published one."""
        assert "Every session" in Sensor(past, "us_catch_up").tick(evening(on(0)))

    def test_a_session_is_the_schedules_until_half_an_hour_after_its_time(self, past: Site) -> None:
        six = datetime.combine(on(1), datetime.min.time(), XNYS.timezone).replace(hour=18)
        catch_up = Sensor(past, "us_catch_up")
        assert final_at(US, on(1)) < six
        assert "Every session" in catch_up.tick(six + timedelta(minutes=29))
        assert span(catch_up.tick(six + timedelta(minutes=30))) == (on(1), on(1))

    def test_each_gap_is_one_run_the_oldest_first(self, site: Site) -> None:
        """The machine was off on the first two sessions, and again on the fourth."""
        site.run(END_OF_DAY, on(3), on(3))
        catch_up, now = Sensor(site, "us_catch_up"), evening(on(4))
        request = catch_up.tick(now)
        assert span(request) == (on(1), on(2))
        assert fulfil(site, END_OF_DAY, request, now).success
        assert set(site.contents("market_regime", [on(1), on(2)])["session"]) == {on(1), on(2)}
        assert span(catch_up.tick(now)) == (on(4), on(4))

    def test_it_waits_while_a_run_of_the_market_is_under_way(self, site: Site) -> None:
        run = dg.DagsterRun(job_name=jobs.decisions_name(US), status=dg.DagsterRunStatus.STARTED)
        site.instance.add_run(run)
        assert Sensor(site, "us_catch_up").tick(evening(on(1))) == "A run of the market is under way."
        site.instance.report_run_canceled(run)
        assert span(Sensor(site, "us_catch_up").tick(evening(on(1)))) == (on(1), on(1))

    def test_what_fails_is_tried_three_times_a_day_and_holds_nothing_else_up(self, site: Site) -> None:
        catch_up, now = Sensor(site, "us_catch_up"), evening(on(2))
        for _ in range(sensors.ATTEMPTS_A_DAY):
            request = catch_up.tick(now)
            assert span(request) == (on(1), on(2))
            assert not fulfil(site, END_OF_DAY, request, now, Down).success
        assert "tried 3 times in a day" in catch_up.tick(now)
        assert sensors.attempts(site.instance, request.tags[sensors.REQUEST], datetime.now(UTC)) == 3
        assert (
            sensors.attempts(site.instance, request.tags[sensors.REQUEST], datetime.now(UTC) + timedelta(days=1)) == 0
        )
        briefing = dg.AssetMaterialization(dg.AssetKey(["us", "daily_briefing"]), partition=on(3).isoformat())
        site.instance.report_runless_asset_event(briefing)
        assert span(catch_up.tick(evening(on(4)))) == (on(4), on(4))

    def test_files_that_end_early_are_not_asked_for_more(self, new_site: NewSite, tmp_path_factory) -> None:
        file = tmp_path_factory.mktemp("files") / "bars.csv"
        days = XNYS.between(on(-3), on(1))
        file.write_text("date,ticker,open,high,low,close,volume\n" + "".join(f"{day},AAPL,9,9,9,9,5\n" for day in days))
        site = new_site()
        site.settings = site.settings.model_copy(update={"market_data_provider": "files", "market_data_files": file})
        briefing = dg.AssetMaterialization(dg.AssetKey(["us", "daily_briefing"]), partition=on(0).isoformat())
        site.instance.report_runless_asset_event(briefing)
        request = Sensor(site, "us_catch_up").tick(evening(on(20)))
        assert span(request) == (on(1), on(1))


class TestRevisions:
    def test_a_first_ingestion_revises_nothing(self, past: Site) -> None:
        revisions = Sensor(past, "us_revisions")
        assert revisions.tick(evening(on(0))) == "Nothing was revised."
        assert final_at(US, on(0)).isoformat() in str(revisions.cursor)

    def test_a_revised_bar_has_the_sessions_since_computed_again_and_erases_nothing(self, site: Site) -> None:
        revisions, now = Sensor(site, "us_revisions"), evening(on(1))
        revisions.tick(evening(on(0)))

        def changed(provider):
            return Changed(provider, "^QVOL", on(-1), 1.5)

        before = site.versions("market_regime", [on(-1)])
        site.run(END_OF_DAY, on(1), on(1), twist=changed)
        request = revisions.tick(now, changed)
        assert (request.job_name, *span(request)) == (END_OF_DAY, on(-1), on(1))
        assert fulfil(site, END_OF_DAY, request, now, changed).success

        after = site.versions("market_regime", [on(-1)])
        assert (before.height, after.height) == (1, 2)
        assert after.filter(pl.col("computed_at") == before["computed_at"][0]).equals(before)
        assert after.sort("computed_at")["volatility"][1] > before["volatility"][0] * 1.4
        assert (
            site.versions("market_regime", [on(0)]).height == 1
        )  # what the revision does not change is not said again
        assert site.versions("daily_bars", [on(-1)]).filter(pl.col("ticker") == "^QVOL")["superseded_at"].count() == 1

        assert revisions.tick(now, changed) == "Nothing was revised."
        assert revisions.tick(evening(on(1)) + timedelta(hours=1), changed) == "Nothing was revised."

    def test_bars_behind_the_first_decision_come_before_the_decisions(self, site: Site, symbol: str) -> None:
        """Each run in its turn, and again where it failed."""
        revisions, now = Sensor(site, "us_revisions"), evening(on(1))
        revisions.tick(evening(on(0)))

        def changed(provider):
            return Changed(provider, symbol, on(-5), 1.01)

        site.run(END_OF_DAY, on(1), on(1), twist=changed)
        for provider, succeeds in ((Down, False), (changed, True)):
            request = revisions.tick(now, changed)
            assert (request.job_name, *span(request)) == (jobs.market_data_name(US), on(-5), on(1))
            # A run of the bars alone needs the provider only where a bar is missing: take one of the last session away.
            if not succeeds:
                _forget(site, on(1))
            assert fulfil(site, request.job_name, request, now, provider).success is succeeds
        request = revisions.tick(now, changed)
        assert (request.job_name, *span(request)) == (jobs.decisions_name(US), on(-1), on(1))
        assert fulfil(site, request.job_name, request, now, changed).success
        assert revisions.tick(now, changed) == "Nothing was revised."

    def test_a_new_name_gets_its_history_and_the_past_is_judged_again(self, new_site: NewSite, symbol: str) -> None:
        """Put on the watchlist when bars of nine sessions were already judged without it; it counts from the next."""

        def hiding(provider):
            return Hiding(provider, symbol)

        site, bars = new_site(), jobs.market_data_name(US)
        site.run(bars, on(-8), on(0), twist=hiding)
        revisions = Sensor(site, "us_revisions")
        assert revisions.tick(evening(on(0)), hiding) == "Nothing was revised."
        site.settings.watchlist_file.write_text(f"{symbol}\n")
        site.run(bars, on(1), on(1), twist=hiding)
        assert revisions.tick(evening(on(1)), hiding) == "Nothing was revised."
        sessions = XNYS.between(on(-8), on(2))
        assert site.contents("received_bars", sessions).filter(pl.col("symbol") == symbol).is_empty()

        site.run(bars, on(2), on(2), twist=hiding)
        received = site.contents("received_bars", sessions).filter(pl.col("symbol") == symbol)
        assert received["session"].to_list() == sessions
        request = revisions.tick(evening(on(2)), hiding)
        assert (request.job_name, *span(request)) == (bars, on(-8), on(2))
        assert fulfil(site, bars, request, evening(on(2)), hiding).success
        judged = site.contents("daily_bars", sessions).filter(pl.col("ticker") == symbol)
        assert judged["session"].to_list() == sessions
        assert revisions.tick(evening(on(2)), hiding) == "Nothing was revised."


def _forget(site: Site, session: date) -> None:
    """Take the received bars of a session away, as if they had never come."""
    world = site.world(evening(session))
    try:
        world.lake._open("us", RECEIVED_BARS).delete(f"session = DATE '{session}'")
    finally:
        world.close()


class TestUpkeep:
    def test_a_failed_run_is_noted_with_its_innermost_error(self, site: Site) -> None:
        failures = Sensor(site, "run_failures")
        failures.requests(evening(on(1)))  # the first tick only learns where the log ends
        site_run = fulfil(
            site, END_OF_DAY, dg.RunRequest(tags={"dagster/partition": on(1).isoformat()}), evening(on(1)), Down
        )
        failures.requests(evening(on(1)))
        world = site.world(evening(on(1)))
        try:
            noted = world.warehouse.query("SELECT * FROM run_failures")
        finally:
            world.close()
        assert noted["run_id"].to_list() == [site_run.run_id]
        assert noted["job_name"][0] == END_OF_DAY
        assert "us_receive: Failure: simulated answered for 0% of" in noted["error"][0]
        assert "\n" not in noted["error"][0]

    def test_compaction_joins_files_and_keeps_every_row(self, site: Site) -> None:
        site.run(jobs.market_data_name(US), on(1), on(1))
        tables = (RECEIVED_BARS, DAILY_BARS, INDICATORS, MARKET_REGIME)
        sessions = XNYS.between(on(-8), on(1))
        world = site.world(evening(on(1)))
        before = {table: (site.versions(table.name, sessions), world.lake.files("us", table)) for table in tables}
        assert fulfil(site, "lake_compaction", dg.RunRequest(), evening(on(1))).success
        for table, (rows, files) in before.items():
            assert site.versions(table.name, sessions).equals(rows)
            assert world.lake.files("us", table) == 1 or files == 1
        assert before[RECEIVED_BARS][1] > 1
        world.close()
