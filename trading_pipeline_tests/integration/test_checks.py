"""Every check passes on a sound site and fails on a fault planted in its lake, its warehouse or what it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.checks.factory import Finding, Sight
from trading_pipeline.checks.live_checks import stops_protect
from trading_pipeline.checks.registry import CHECKS
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import US
from trading_pipeline.providers.base import DailyBarsBatch, Failure
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.reports.daily import place_of
from trading_pipeline.reports.premarket import place_of as premarket_place
from trading_pipeline.reports.tearsheets import index_place
from trading_pipeline.sessions import calendar
from trading_pipeline.storage import files
from trading_pipeline.storage.server import connect
from trading_pipeline.tables import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    DAILY_BIAS,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    INDICATORS,
    INTRADAY_BARS,
    INTRADAY_ISSUES,
    MACRO_SERIES,
    MARKET_REGIME,
    NEWS,
    PREMARKET_SNAPSHOTS,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
    RECEIVED_WATCHLIST,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
    Table,
)
from trading_pipeline.world import World
from trading_pipeline_tests.promises import PREMARKET, QUIET, Site, final_at, forgetful_instance
from trading_pipeline_tests.ticks import PRICES, Passing

XNYS = calendar("XNYS")
DAY = date(2024, 3, 15)
FIRST = XNYS.offset(DAY, -2)
BARS_FROM = XNYS.offset(DAY, -270)
SPAN = XNYS.between(FIRST, DAY)
NEXT = XNYS.offset(DAY, 1)
RECEIPTS = {"no_basis_breaks", "no_duplicates", "every_ticker_answered", "none_refused", "none_doubted"}

NewSite = Callable[[], Site]


@dataclass
class Sound:
    """The sound site, and what the checks of its two runs said."""

    site: Site
    evaluations: list[Any]


@pytest.fixture(scope="module")
def sound(new_site: NewSite) -> Sound:
    """A site with a year of bars and three published sessions, of which one name is watched."""
    site = new_site()
    site.settings.watchlist_file.write_text("Q1001\n")
    bare = replace(site, instance=forgetful_instance(), checked=False)
    bare.run(jobs.market_data_name(US), BARS_FROM, XNYS.offset(FIRST, -1))
    published = site.run(jobs.end_of_day_name(US), FIRST, DAY)
    prepared = site.run(jobs.premarket_name(US), FIRST, DAY, only=PREMARKET)
    traded = site.run(jobs.live_name(US), DAY, DAY)
    runs = (published, prepared, traded)
    return Sound(site, [each for run in runs for each in run.get_asset_check_evaluations()])


@pytest.fixture
def site(sound: Sound, new_site: NewSite) -> Site:
    """A copy of the sound site, to plant a fault in."""
    return sound.site.copy_to(new_site())


def look(site: Site, name: str, now: datetime | None = None) -> Finding:
    """What a check, named `asset/check`, sees on a site now."""
    (check,) = (each for each in CHECKS if f"{each.asset}/{each.name}" == name)
    world = site.world(now or final_at(US, DAY))
    try:
        return check.look(Sight(world, US, SPAN, site.instance))
    finally:
        world.close()


def test_the_sound_site_passes_every_check(sound: Sound) -> None:
    said = {f"{each.asset_key.path[-1]}/{each.check_name}": each for each in sound.evaluations}
    assert set(said) == {f"{check.asset}/{check.name}" for check in CHECKS}
    assert [f"{name}: {each.description}" for name, each in said.items() if not each.passed] == []


# --- faults -------------------------------------------------------------------------------------------------------

Plant = Callable[[World], None]
FAULTS: list[tuple[str, Plant]] = []


def fault(*names: str) -> Callable[[Plant], Plant]:
    """Declare a fault that the checks named must find."""

    def declare(plant: Plant) -> Plant:
        FAULTS.extend((name, plant) for name in names)
        return plant

    return declare


def rewrite(world: World, table: Table, change: Callable[[pl.DataFrame], pl.DataFrame], session: date = DAY) -> None:
    """Write the rows of a session anew, changed."""
    world.lake.replace("us", table, [session], change(world.lake.read("us", table, session, session)))


def add(world: World, table: Table, **changed: Any) -> None:
    """Append one of the session's rows once more, changed; it is known an hour after the others."""
    row = world.lake.read("us", table, BARS_FROM, DAY).sort("session", "known_at").tail(1)
    row = row.with_columns(pl.col("known_at") + timedelta(hours=1), **changed)
    world.lake.append("us", table, row.select(table.names))


def execute(world: World, statement: str) -> None:
    """Change the warehouse behind everybody's back."""
    with connect(world.warehouse.url, autocommit=True) as connection:
        assert connection.execute(statement.encode()).rowcount


@fault("received_watchlist/never_backdated")
def backdated_name(world: World) -> None:
    add(world, RECEIVED_WATCHLIST, session=pl.lit(XNYS.offset(FIRST, -1)))


@fault("universe_members/sane_member_counts")
def index_of_forty(world: World) -> None:
    rewrite(
        world,
        UNIVERSE_MEMBERS,
        lambda rows: rows.with_columns(universe=pl.col("universe").replace({"SIM_ALL": "SPX500"})),
    )


@fault("received_bars/clocks_in_order")
def bar_before_its_close(world: World) -> None:
    add(world, RECEIVED_BARS, available_at=pl.col("available_at") - timedelta(hours=3), instrument_id=pl.lit("us:NEW"))


@fault("received_bars/no_revisions")
def revised_bar(world: World) -> None:
    add(world, RECEIVED_BARS, close=pl.col("close") * 2)


@fault("received_actions/clocks_in_order")
def action_changed_before_we_knew(world: World) -> None:
    add(world, RECEIVED_ACTIONS, session=pl.lit(DAY))
    add(world, RECEIVED_ACTIONS, session=pl.lit(DAY), available_at=pl.col("known_at") - timedelta(hours=2))


@fault("received_actions/no_revisions")
def withdrawn_action(world: World) -> None:
    add(world, RECEIVED_ACTIONS, session=pl.lit(DAY), withdrawn=pl.lit(True))


@fault("daily_bars/expected_sessions", "market_data/warehouse_agrees")
def session_without_bars(world: World) -> None:
    rewrite(world, DAILY_BARS, lambda rows: rows.clear(), FIRST)


@fault("daily_bars/survivorship_coverage", "daily_bars/everything_judged")
def lost_bars(world: World) -> None:
    rewrite(world, DAILY_BARS, lambda rows: rows.head(5))


@fault("daily_bars/freshness")
def no_latest_bars(world: World) -> None:
    rewrite(world, DAILY_BARS, lambda rows: rows.clear())


@fault("daily_bars/watched_names_have_bars")
def watched_name_nobody_quotes(world: World) -> None:
    watched = {"universe": pl.lit("WATCHLIST"), "instrument_id": pl.lit("us:TYPO"), "ticker": pl.lit("TYPO")}
    rewrite(world, UNIVERSE_MEMBERS, lambda rows: pl.concat([rows, rows.head(1).with_columns(**watched)]))


@fault("corporate_actions/actions_make_sense")
def split_of_nothing(world: World) -> None:
    session = world.lake.read("us", CORPORATE_ACTIONS, BARS_FROM, DAY)["session"].max()
    rows = world.lake.read("us", CORPORATE_ACTIONS, session, session).head(1)
    wrong = rows.with_columns(session=pl.lit(DAY), kind=pl.lit("split"), value=pl.lit(1.0))
    rewrite(world, CORPORATE_ACTIONS, lambda _: wrong)


@fault("bar_issues/few_issues")
def many_bad_bars(world: World) -> None:
    bad = pl.when(pl.int_range(pl.len()) < 5).then(pl.lit("bad")).otherwise(pl.col("data_quality"))
    rewrite(world, DAILY_BARS, lambda rows: rows.with_columns(data_quality=bad))


def an_issue(**changed: pl.Expr) -> pl.DataFrame:
    """An issue of the last session."""
    plain = {
        "session": DAY,
        "instrument_id": "us:Q1001",
        "ticker": "Q1001",
        "bar_session": DAY,
        "rule": "jump",
        "severity": "suspect",
        "detail": "planted",
    }
    return pl.DataFrame([plain], schema=BAR_ISSUES.schema).with_columns(**changed)


@fault("bar_issues/issues_name_rules", "bar_issues/warehouse_agrees")
def issue_of_no_rule(world: World) -> None:
    rewrite(world, BAR_ISSUES, lambda rows: pl.concat([rows, an_issue(rule=pl.lit("a_feeling"))]))


@fault("bar_issues/issues_name_rules")
def issue_before_its_bar(world: World) -> None:
    rewrite(world, BAR_ISSUES, lambda rows: pl.concat([rows, an_issue(bar_session=pl.lit(NEXT))]))


@fault("market_data/warehouse_agrees")
def one_cent_in_the_warehouse(world: World) -> None:
    execute(
        world,
        "UPDATE market_data SET high = high + 0.01"
        f" WHERE (ticker, date) = (SELECT ticker, date FROM market_data WHERE date = '{DAY}' LIMIT 1)",
    )


@fault("universe_members/warehouse_agrees")
def members_missing_in_the_warehouse(world: World) -> None:
    execute(world, f"DELETE FROM universe_members WHERE session = '{FIRST}' AND universe = 'SIM_MEGA'")


@fault("market_regime/warehouse_agrees", "dip_opportunities/warehouse_agrees")
def decisions_missing_in_the_warehouse(world: World) -> None:
    execute(world, f"DELETE FROM market_regime WHERE session = '{DAY}'")
    execute(world, f"DELETE FROM dip_opportunities WHERE session = '{DAY}'")


@fault("indicators/in_bounds")
def rsi_of_120(world: World) -> None:
    rewrite(world, INDICATORS, lambda rows: rows.with_columns(rsi_14=pl.lit(120.0)))


@fault("indicators/in_bounds")
def no_indicators(world: World) -> None:
    for session in SPAN:
        rewrite(world, INDICATORS, lambda rows: rows.clear(), session)


@fault("market_regime/every_session_graded")
def withdrawn_grade(world: World) -> None:
    world.lake.publish("us", MARKET_REGIME, [FIRST], MARKET_REGIME.empty(), final_at(US, NEXT))


@fault("dip_opportunities/parts_add_up")
def parts_that_do_not_add_up(world: World) -> None:
    dips = world.lake.latest("us", DIP_OPPORTUNITIES, [DAY]).with_columns(pl.col("fall") - 0.01)
    world.lake.publish("us", DIP_OPPORTUNITIES, [DAY], dips, final_at(US, NEXT))


@fault("dip_opportunities/parts_add_up")
def dip_too_shallow(world: World) -> None:
    dips = world.lake.latest("us", DIP_OPPORTUNITIES, [DAY]).with_columns(dip_pct=pl.lit(4.9))
    world.lake.publish("us", DIP_OPPORTUNITIES, [DAY], dips, final_at(US, NEXT))


@fault(
    "received_fundamentals/known_in_time",
    "received_statements/known_in_time",
    "received_earnings/known_in_time",
    "received_news/known_in_time",
)
def facts_from_tomorrow(world: World) -> None:
    for table in (RECEIVED_FUNDAMENTALS, RECEIVED_STATEMENTS, RECEIVED_EARNINGS, RECEIVED_NEWS):
        row = world.lake.read("us", table).head(1).with_columns(pl.lit(DAY).alias(table.session_column))
        world.lake.append("us", table, row.with_columns(available_at=pl.col("known_at") + timedelta(days=1)))


@fault("fundamentals/few_condemned")
def condemned_snapshots(world: World) -> None:
    rewrite(
        world,
        FUNDAMENTALS,
        lambda rows: rows.with_columns(data_quality=pl.lit("suspect"), rules=pl.lit("range_swapped")),
    )


@fault("fundamentals/members_are_told", "fundamentals/warehouse_agrees")
def members_without_snapshot(world: World) -> None:
    rewrite(world, FUNDAMENTALS, lambda rows: rows.tail(-3))


@fault("earnings_calendar/reports_lie_ahead")
def report_in_the_past(world: World) -> None:
    rewrite(world, EARNINGS_CALENDAR, lambda rows: rows.with_columns(sessions_to_report=pl.lit(-2, pl.Int32)))


@fault("earnings_calendar/providers_agree")
def voices_that_differ(world: World) -> None:
    other = {"sources": pl.lit("finnhub,yahoo"), "disagreement": pl.lit("yahoo: 2024-04-25 amc")}
    rewrite(world, EARNINGS_CALENDAR, lambda rows: rows.with_columns(**other))


@fault("earnings_calendar/warehouse_agrees")
def calendar_missing_in_the_warehouse(world: World) -> None:
    execute(world, f"DELETE FROM earnings_calendar WHERE session = '{DAY}'")


@fault("news/sentiments_in_bounds", "news/warehouse_agrees")
def sentiment_of_two(world: World) -> None:
    row = world.lake.read("us", NEWS, BARS_FROM, DAY).sort("session").tail(1)
    again = row.with_columns(session=pl.lit(DAY), article_id=pl.lit("other"), sentiment=pl.lit(2.0))
    rewrite(world, NEWS, lambda rows: pl.concat([rows, again]))


@fault("macro_series/every_series_has_a_level", "macro_series/warehouse_agrees")
def no_volatility_index(world: World) -> None:
    rewrite(world, MACRO_SERIES, lambda rows: rows.filter(pl.col("series") != "volatility_index"))


def republish(world: World, table: Table, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Publish the decisions of the last session anew, changed."""
    world.lake.publish("us", table, [DAY], change(world.lake.latest("us", table, [DAY])), final_at(US, NEXT))


@fault("screener_scores/every_member_scored", "screener_scores/warehouse_agrees")
def members_not_scored(world: World) -> None:
    republish(world, SCREENER_SCORES, lambda rows: rows.tail(-2))


@fault("screener_scores/verdicts_follow")
def buy_through_a_closed_gate(world: World) -> None:
    wrong = {"gates_passed": pl.lit(False), "verdict": pl.lit("Buy")}
    republish(world, SCREENER_SCORES, lambda rows: rows.with_columns(**wrong))


@fault("dip_opportunities/causes_are_known")
def cause_nobody_knows(world: World) -> None:
    republish(world, DIP_OPPORTUNITIES, lambda rows: rows.with_columns(cause=pl.lit("astrology")))


@fault("dip_analysis/sizes_within_limits")
def half_the_portfolio(world: World) -> None:
    republish(world, DIP_ANALYSIS, lambda rows: rows.with_columns(action=pl.lit("buy"), size_high=pl.lit(0.5)))


@fault("dip_analysis/desk_is_worded", "dip_analysis/warehouse_agrees")
def speechless_desk(world: World) -> None:
    republish(world, DIP_ANALYSIS, lambda rows: rows.clear())


@fault("intraday_bars/known_in_time")
def minute_from_the_future(world: World) -> None:
    add(world, INTRADAY_BARS, available_at=pl.col("known_at") + timedelta(days=2))


@fault("intraday_issues/few_broken_minutes")
def rule_nobody_knows(world: World) -> None:
    minute = world.lake.read("us", INTRADAY_BARS, DAY, DAY).head(1)
    issue = minute.with_columns(rule=pl.lit("astrology"), severity=pl.lit("rejected"), detail=pl.lit("the stars"))
    world.lake.append("us", INTRADAY_ISSUES, issue.select(INTRADAY_ISSUES.names))


@fault("premarket_snapshots/bands_in_order")
def bands_upside_down(world: World) -> None:
    republish(world, PREMARKET_SNAPSHOTS, lambda rows: rows.with_columns(band_lower_2=pl.col("band_upper_2") + 1))


@fault("premarket_snapshots/warehouse_agrees")
def snapshots_missing_in_the_warehouse(world: World) -> None:
    execute(world, f"DELETE FROM premarket_snapshots WHERE session = '{DAY}'")


@fault("daily_bias/biases_follow")
def bias_against_its_score(world: World) -> None:
    republish(world, DAILY_BIAS, lambda rows: rows.with_columns(bias=pl.lit("long"), score=pl.lit(-0.5)))


@fault("daily_bias/prepared_names_lean", "daily_bias/warehouse_agrees")
def names_without_a_bias(world: World) -> None:
    republish(world, DAILY_BIAS, lambda rows: rows.tail(-2))


def tamper(world: World, statement: str) -> None:
    """Change the live tables as no program of ours can: past their triggers and constraints."""
    table = statement.split()[1 if statement.startswith("UPDATE") else 2]
    drop = (
        "DO $$ DECLARE c text; BEGIN FOR c IN SELECT conname FROM pg_constraint "
        f"WHERE conrelid = '{table}'::regclass AND contype = 'c' LOOP "
        f"EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', c); END LOOP; END $$"
    )
    with connect(world.warehouse.url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(drop.encode())
        assert connection.execute(statement.encode()).rowcount


@fault("live_sessions/ended_as_planned")
def session_broken_off(world: World) -> None:
    tamper(world, "UPDATE live_sessions SET ended_why = 'interrupted'")


@fault("trade_signals/outcomes_follow")
def signal_of_another_size(world: World) -> None:
    tamper(world, "UPDATE trade_signals SET quantity = quantity + 1 WHERE outcome = 'ordered'")


@fault("market_analysis/multipliers_in_bounds")
def five_times_as_bold(world: World) -> None:
    tamper(world, "UPDATE market_analysis SET long = 5")


@fault("orders/states_follow")
def orders_never_accepted(world: World) -> None:
    tamper(world, "DELETE FROM order_events WHERE sequence = 1")


@fault("fills/fees_and_prices")
def broker_that_pays(world: World) -> None:
    tamper(world, "UPDATE fills SET fee = -1")


@fault("positions/reconciled")
def shares_from_nowhere(world: World) -> None:
    columns = "book, session, instrument_id, ticker, quantity, average_price, market_price, market_value, unrealised"
    tamper(world, f"INSERT INTO positions ({columns}) VALUES ('paper', '{DAY}', 'us:Q1', 'Q1', 1, 10, 10, 10, 0)")


@fault("positions/stops_protect")
def held_without_a_stop(world: World) -> None:
    tamper(world, "DELETE FROM fills WHERE order_id IN (SELECT order_id FROM orders WHERE role <> 'entry')")


def test_what_is_held_without_a_stop_is_found(site: Site) -> None:
    world = site.world(final_at(US, DAY))
    try:
        sight = Sight(world, US, SPAN, site.instance)
        assert stops_protect(sight).numbers == {"faults": 0, "held": 0}
        held_without_a_stop(world)
        bare = stops_protect(sight)
        assert not bare.passed
        assert "had no stop" in bare.says
        # Protected once more, by stops that never ended.
        tamper(world, "DELETE FROM order_events WHERE order_id LIKE '%-stop' AND sequence > 1")
        protected = stops_protect(sight)
        assert protected.passed
        assert protected.numbers["held"] == bare.numbers["held"] > 0
        # Half of the shares are not enough.
        tamper(world, "UPDATE orders SET quantity = quantity / 2 WHERE role = 'stop'")
        assert stops_protect(sight).numbers["faults"] > 0
    finally:
        world.close()


@fault("trades/reconciled")
def cent_more_of_a_trade(world: World) -> None:
    tamper(world, "UPDATE trades SET pnl = pnl + 0.01")


@fault("accounts/reconciled")
def cent_more_in_the_account(world: World) -> None:
    tamper(world, "UPDATE accounts SET cash = cash + 0.01")


@fault("premarket_briefing/pages_are_whole")
def premarket_page_cut_short(world: World) -> None:
    place = premarket_place(US, DAY)
    files.put_text(world.settings, place, files.text_of(world.settings, place)[:200])


@fault("tearsheets/pages_are_whole")
def index_cut_short(world: World) -> None:
    place = index_place(US, DAY)
    files.put_text(world.settings, place, files.text_of(world.settings, place)[:200])


def on_page(world: World, change: Callable[[str], str]) -> None:
    """Write the briefing of the last session anew, changed."""
    place = place_of(US, DAY)
    files.put_text(world.settings, place, change(files.text_of(world.settings, place)))


@fault("daily_briefing/pages_are_whole")
def page_that_fetches(world: World) -> None:
    on_page(world, lambda page: page.replace("</body>", '<script src="https://example.org/chart.js"></script></body>'))


@fault("daily_briefing/pages_are_whole")
def page_cut_short(world: World) -> None:
    on_page(world, lambda page: page[: len(page) // 2])


@fault("daily_briefing/pages_are_whole")
def page_not_marked(world: World) -> None:
    on_page(world, lambda page: page.replace("SIMULATED", "Real"))


@fault("daily_briefing/pages_are_whole")
def page_missing(world: World) -> None:
    root = world.settings.lake_root.removeprefix("file://")
    (Path(root) / place_of(US, FIRST)).unlink()


@pytest.mark.parametrize(("name", "plant"), FAULTS, ids=[f"{name}-{plant.__name__}" for name, plant in FAULTS])
def test_a_planted_fault_is_found(name: str, plant: Plant, site: Site) -> None:
    world = site.world(final_at(US, DAY))
    try:
        plant(world)
    finally:
        world.close()
    finding = look(site, name, final_at(US, NEXT) - timedelta(seconds=1))
    assert not finding.passed, finding.says


def test_a_session_table_that_ends_soon_is_found(sound: Sound) -> None:
    name = "universe_members/session_table_reaches"
    assert look(sound.site, name).passed
    soon = datetime.combine(XNYS.last_session, datetime.min.time(), XNYS.timezone) - timedelta(days=170)
    assert not look(sound.site, name, soon).passed


def test_freshness_looks_at_the_clock_and_not_at_the_run(sound: Sound) -> None:
    """A backfill of older sessions does not make the day's absence good."""
    assert look(sound.site, "daily_bars/freshness").passed
    finding = look(sound.site, "daily_bars/freshness", final_at(US, NEXT))
    assert not finding.passed
    assert f"is {NEXT}" in finding.says


class Faulty(Passing):
    """Halves one history, repeats a row of another, forgets a third name and tells a split of minus one."""

    halved, repeated, forgotten = "Q1002", "Q1004", "Q1006"

    def daily_bars(self, requests: Any, **how: Any) -> DailyBarsBatch:
        """The plain answer with the faults."""
        batch = self.plain.daily_bars([each for each in requests if each.symbol != self.forgotten], **how)
        if len(batch.failures) < len(requests) and any(each.symbol == self.forgotten for each in requests):
            batch.failures.append(Failure(self.forgotten, NotFound("There is no Q1006")))
        half = pl.when(pl.col("symbol") == self.halved).then(0.5).otherwise(1.0)
        batch.bars = batch.bars.with_columns(pl.col(name) * half for name in PRICES)
        batch.duplicates = batch.bars.filter((pl.col("symbol") == self.repeated) & (pl.col("session") == DAY))
        split = {"symbol": self.repeated, "session": DAY, "kind": "split", "value": -1.0, "currency": "USD"}
        batch.actions = pl.concat([batch.actions, pl.DataFrame([split], schema=batch.actions.schema)])
        return batch


def test_what_a_receipt_did_not_store_is_warned_of(site: Site) -> None:
    result = site.run(jobs.market_data_name(US), NEXT, NEXT, twist=Faulty)
    assert result.success
    said = {
        each.check_name: each
        for each in result.get_asset_check_evaluations()
        if each.check_name in RECEIPTS and each.asset_key.path[-1] in ("received_bars", "received_actions")
    }
    assert {name for name, each in said.items() if not each.passed} == RECEIPTS - {"none_doubted"}
    assert {each.severity for each in said.values()} == {dg.AssetCheckSeverity.WARN}
    assert "us:Q1002 x0.5 up to 2024-03-15" in str(said["no_basis_breaks"].description)
    assert "Q1004 2024-03-15" in str(said["no_duplicates"].description)
    assert "1 not_found" in str(said["every_ticker_answered"].description)
    assert "Q1004 2024-03-15 split -1.0" in str(said["none_refused"].description)


def test_every_check_has_a_fault_that_it_finds() -> None:
    """A check that cannot fail checks nothing; `none_doubted` and the readings of a receipt have unit tests."""
    found = {name for name, _ in FAULTS}
    elsewhere = {"session_table_reaches", *RECEIPTS}
    assert found == {f"{check.asset}/{check.name}" for check in CHECKS if check.name not in elsewhere}


def test_a_check_run_on_its_own_looks_at_the_latest_session(sound: Sound) -> None:
    definitions = build_definitions(sound.site.settings, open_world=lambda: sound.site.world(final_at(US, DAY)))
    check = dg.AssetCheckKey(dg.AssetKey(["us", "market_regime"]), "every_session_graded")
    job = dg.define_asset_job("checks_alone", selection=dg.AssetSelection.checks(check))
    resolved = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("checks_alone")
    result = resolved.execute_in_process(instance=sound.site.instance, run_config=QUIET)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert evaluation.metadata["graded"].value == 1
