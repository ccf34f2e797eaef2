"""The premarket page of a simulated site: prepared live before the open, and linked to what the evening before made."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from rich.console import Console

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline.reports import premarket
from trading_pipeline.reports.premarket import PremarketInputs
from trading_pipeline.tables import DAILY_BIAS, PREMARKET_SNAPSHOTS
from trading_pipeline.world import World
from trading_pipeline_tests.promises import FIRST, XNYS, Site

SESSION = XNYS.offset(FIRST, 1)
MORNING = datetime.combine(SESSION, US.premarket_at, XNYS.timezone).astimezone(UTC) + timedelta(minutes=1)


@pytest.fixture(scope="module")
def site(begun_site: Callable[[], Site]) -> Site:
    """A site on the morning after its first evening, an hour before the open."""
    site = begun_site()
    site.run(jobs.end_of_day_name(US), FIRST, FIRST)
    site.run(jobs.premarket_name(US), SESSION, SESSION, now=MORNING)
    return site


@pytest.fixture(scope="module")
def world(site: Site) -> Iterator[World]:
    world = site.world(MORNING)
    yield world
    world.close()


@pytest.fixture(scope="module")
def inputs(world: World) -> PremarketInputs:
    return premarket.gather(world, US, SESSION)


def test_it_is_made_of_the_morning_and_the_evening_before(world: World, inputs: PremarketInputs) -> None:
    assert inputs.taken == "live"
    assert inputs.previous == FIRST
    for table, frame in ((PREMARKET_SNAPSHOTS, inputs.snapshots), (DAILY_BIAS, inputs.bias)):
        assert frame.equals(world.lake.latest("us", table.name, [SESSION]))
        assert set(frame["session"]) == {SESSION} and frame.height > 20
    for frame in (inputs.regime, inputs.scores, inputs.dips, inputs.earnings):
        assert set(frame["session"]) == {FIRST}
    assert inputs.provider == "simulated"


def test_the_page_links_to_the_pages_of_the_evening_before(world: World, site: Site, inputs: PremarketInputs) -> None:
    page = premarket.premarket_page(world, US, SESSION)
    linked = set(re.findall(r'href="([^"]+)"', page))
    assert f"../daily_briefing/{FIRST}.html" in linked
    assert any(f"../tearsheets/{FIRST}/" in address for address in linked)
    here = site.folder / "lake" / "simulated" / premarket.place_of(US, SESSION)
    for address in linked:
        assert (here.parent / address).resolve().is_file(), address
    assert "Taken live" in page and "SIMULATED" in page
    for ticker in inputs.bias["ticker"]:
        assert f">{ticker}<" in page


def test_the_same_rows_prepared_again_make_the_same_page(world: World, site: Site, inputs: PremarketInputs) -> None:
    page = premarket.render(inputs)
    site.run(jobs.premarket_name(US), SESSION, SESSION, now=MORNING + timedelta(minutes=5))
    other = site.world(MORNING + timedelta(minutes=10))
    try:
        again = premarket.premarket_page(other, US, SESSION)
    finally:
        other.close()

    def said(page: str) -> list[str]:
        return [line for line in page.splitlines() if not re.search("Known as of|Page made", line)]

    assert said(again) == said(page)


def test_a_session_nobody_prepared_has_a_page_that_says_so(world: World) -> None:
    page = premarket.premarket_page(world, US, XNYS.offset(SESSION, 1))
    assert "Nobody was prepared for this session" in page
    assert "No environment was published" in page


def test_the_terminal_says_where_the_page_is(world: World, inputs: PremarketInputs) -> None:
    out = io.StringIO()
    Console(file=out, width=300).print(premarket.premarket_summary(world, US, SESSION))
    assert out.getvalue().rstrip().endswith(premarket.place_of(US, SESSION))
    surest = inputs.bias.filter(pl.col("bias") != "neutral").sort("confidence", descending=True)["ticker"][0]
    assert surest in out.getvalue()
