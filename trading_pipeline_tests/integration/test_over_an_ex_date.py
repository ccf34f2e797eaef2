"""A book that holds shares over an ex-date: the evening's checks and the day's page, by what was known at its start."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.checks.factory import Finding, Sight
from trading_pipeline.checks.live_checks import reconciled
from trading_pipeline.live.inputs import actions_up_to
from trading_pipeline.markets import US
from trading_pipeline.reports.trading_day import TradingDay, gather
from trading_pipeline.reports.trading_day.accounting import checks
from trading_pipeline.settings import Settings
from trading_pipeline.tables import CORPORATE_ACTIONS
from trading_pipeline.tables.live import ACCOUNTS, POSITIONS, TRADES
from trading_pipeline.world import World
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, Day, lead

TOMORROW, DAY_AFTER = date(2025, 9, 18), date(2025, 9, 19)
SESSIONS = [SESSION, TOMORROW, DAY_AFTER]
HOUR = timedelta(hours=1)
LEDGER = (POSITIONS, TRADES, ACCOUNTS)


def opens(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 13, 30, tzinfo=UTC)


def tell(world: World, instrument: str, kind: str, value: float, known_at: datetime) -> None:
    """An action of TOMORROW as it is stored: the public had it at the open, we had it at `known_at`."""
    row = {
        "session": TOMORROW, "instrument_id": instrument, "ticker": instrument.removeprefix("us:"), "kind": kind,
        "value": value, "currency": "USD", "provider": "files", "withdrawn": False, "rules": "",
        "available_at": min(opens(TOMORROW), known_at), "known_at": known_at, "superseded_at": None,
    }  # fmt: skip
    stored = world.lake.read("us", CORPORATE_ACTIONS, TOMORROW, TOMORROW)
    told = pl.concat([stored, pl.DataFrame([row], schema=CORPORATE_ACTIONS.schema)])
    world.lake.replace("us", CORPORATE_ACTIONS, [TOMORROW], told)


def trade(world: World, session: date, seed: int, silent: tuple[str, datetime] | None = None) -> str | None:
    """Lead a session as of its open; silent: a name that has no bar from then on. Returns one that is held at its end.

    A name without bars cannot be left, so that it is held overnight.
    """
    day = Day.random(minutes=75, seed=seed, session=session, opens_at=opens(session))
    actions = actions_up_to(world.lake, US, session, opens(session))
    bars = day.bars
    if silent is not None:
        bars = bars.filter(~((pl.col("instrument_id") == silent[0]) & (pl.col("started_at") >= silent[1])))
    held = lead(Day(bars, replace(day.inputs, actions=actions)), world.warehouse).positions["instrument_id"]
    return held[0] if held.len() else None


def opened(folder: Path, embedded_server: Any) -> World:
    """A world of its own in which nothing happened to any name yet."""
    url = embedded_server.url(f"test_{uuid.uuid4().hex[:12]}")
    world = World(Settings(state_dir=folder, database_url=url, _env_file=None), clock=lambda: opens(DAY_AFTER) + HOUR)
    world.lake.replace("us", CORPORATE_ACTIONS, [SESSION], CORPORATE_ACTIONS.empty())
    return world


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any) -> tuple[str, datetime]:
    """The first name that SESSION buys, and the first minute after that."""
    world = opened(tmp_path_factory.mktemp("undisturbed"), embedded_server)
    first = lead(Day.random(minutes=75, seed=17), world.warehouse).fills.sort("at").row(0, named=True)
    world.close()
    return first["instrument_id"], first["at"].replace(second=0, microsecond=0) + MINUTE


@pytest.fixture
def world(tmp_path: Path, embedded_server: Any) -> Iterator[World]:
    world = opened(tmp_path, embedded_server)
    yield world
    world.close()


@pytest.fixture
def held(world: World, bought: tuple[str, datetime]) -> str:
    """A name that the book holds overnight into TOMORROW."""
    left = trade(world, SESSION, 17, bought)
    assert left == bought[0]
    return left


def looks(world: World) -> list[Finding]:
    sight = Sight(world, US, SESSIONS, dg.DagsterInstance.ephemeral())
    return [reconciled(table)(sight) for table in LEDGER]


def test_a_split_that_became_known_after_a_session_began_makes_no_fault_of_it(world: World, held: str) -> None:
    trade(world, TOMORROW, 3)
    tell(world, held, "split", 4.0, opens(TOMORROW) + 8 * HOUR)
    assert [each.says for each in looks(world) if not each.passed] == []


def test_a_dividend_told_late_is_in_the_cash_of_the_next_session(world: World, held: str) -> None:
    trade(world, TOMORROW, 3)
    tell(world, held, "dividend", 0.2425, opens(TOMORROW) + 8 * HOUR)
    trade(world, DAY_AFTER, 5)
    found = looks(world)
    assert [each.says for each in found if not each.passed] == []
    assert found[-1].numbers["rows"] == 3


def test_what_was_known_when_it_began_must_be_in_the_book(world: World, held: str) -> None:
    trade(world, TOMORROW, 3)
    tell(world, held, "dividend", 0.2425, opens(TOMORROW) - HOUR)
    found = dict(zip((table.name for table in LEDGER), looks(world), strict=True))
    assert not found["accounts"].passed
    assert f"{TOMORROW}, account: the cash is" in found["accounts"].says
    assert not found["trades"].passed


def ledger_lines(world: World, session: date) -> tuple[TradingDay, dict[str, bool]]:
    day = gather(world, US, session, US.book)
    return day, {check.what: check.holds for check in checks(day)}


def test_the_page_of_a_day_that_pays_and_divides_what_was_held_adds_up(world: World, held: str) -> None:
    """A reverse split that leaves a fraction, and a dividend on the shares after it."""
    before = opens(TOMORROW) - HOUR
    tell(world, held, "split", 1 / 7, before)
    tell(world, held, "dividend", 0.2425, before)
    trade(world, TOMORROW, 3)
    day, lines = ledger_lines(world, TOMORROW)
    assert set(day.actions["kind"]) == {"split", "dividend"}
    assert day.carried["quantity"].item() % 7
    assert [what for what, holds in lines.items() if not holds] == []
    assert len(lines) == 8
    assert {what for what, holds in ledger_lines(world, SESSION)[1].items() if not holds} == set()


def test_shares_that_split_before_anybody_knew_are_carried_as_the_next_session_counts_them(
    world: World, held: str
) -> None:
    trade(world, TOMORROW, 3, (held, opens(TOMORROW)))
    tell(world, held, "split", 4.0, opens(TOMORROW) + 8 * HOUR)
    day, lines = ledger_lines(world, TOMORROW)
    assert (day.actions.height, [what for what, holds in lines.items() if not holds]) == (0, [])
    kept = day.positions.filter(pl.col("instrument_id") == held)["quantity"].item()
    trade(world, DAY_AFTER, 5)
    day, lines = ledger_lines(world, DAY_AFTER)
    assert day.carried.filter(pl.col("instrument_id") == held)["quantity"].to_list() == [4 * kept]
    assert [what for what, holds in lines.items() if not holds] == []


def test_a_version_that_replaced_another_later_does_not_count(world: World, held: str) -> None:
    """The amount was 0.20 when the session began and is 0.25 now."""
    tell(world, held, "dividend", 0.20, opens(TOMORROW) - HOUR)
    trade(world, TOMORROW, 3)
    revised_at = opens(TOMORROW) + 8 * HOUR
    first = world.lake.read("us", CORPORATE_ACTIONS, TOMORROW, TOMORROW)
    second = first.with_columns(value=pl.lit(0.25), available_at=pl.lit(revised_at), known_at=pl.lit(revised_at))
    both = pl.concat([first.with_columns(superseded_at=pl.lit(revised_at)), second], how="vertical_relaxed")
    world.lake.replace("us", CORPORATE_ACTIONS, [TOMORROW], CORPORATE_ACTIONS.conform(both))
    assert [each.says for each in looks(world) if not each.passed] == []
