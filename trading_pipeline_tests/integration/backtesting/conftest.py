"""A small simulated world with half a year of bars, in three states, for every test of backtests' results.

`early` ends with a session; `later` is the same twelve sessions on; `other` too, but its provider told another story of
these twelve. Everything was published in `early` before the others were copied from it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline_tests.backtest_desks import BARS_FROM, BOTH_SIDES, EARLY, MADE, TICKERS, Desk, cross
from trading_pipeline_tests.promises import LAST, OtherFuture, Site, forgetful_instance

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer

NewSite = Callable[[], Site]


@pytest.fixture(scope="session")
def new_site(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> NewSite:
    """Makes sites with a small simulated market."""

    def make() -> Site:
        url = embedded_server.url(f"backtests_{uuid.uuid4().hex[:12]}").get_secret_value()
        site = Site(Path(tmp_path_factory.mktemp("desk")), url, instance=forgetful_instance(), checked=False)
        site.settings = site.settings.model_copy(update={"simulated_tickers": TICKERS})
        return site

    return make


@pytest.fixture(scope="session")
def untouched(new_site: NewSite) -> Desk:
    """The bars up to `EARLY`, and no result; only to be copied."""
    site = new_site()
    site.run(jobs.market_data_name(US), BARS_FROM, EARLY, only=MADE)
    return Desk(site, EARLY)


@pytest.fixture(scope="session")
def early(untouched: Desk, new_site: NewSite) -> Desk:
    """The bars up to `EARLY`, and what two configurations came to by then."""
    desk = Desk(untouched.site.copy_to(new_site()), EARLY)
    for text in (cross("cross"), BOTH_SIDES):
        desk.publish(text)
    return desk


@pytest.fixture(scope="session")
def later(early: Desk, new_site: NewSite) -> Desk:
    """Twelve sessions on, the same two published again."""
    desk = Desk(early.site.copy_to(new_site()), EARLY).go_on(LAST)
    for text in (cross("cross"), BOTH_SIDES):
        desk.publish(text)
    return desk


@pytest.fixture(scope="session")
def other(early: Desk, new_site: NewSite) -> Desk:
    """The same, but for another story of the last twelve sessions."""
    desk = Desk(early.site.copy_to(new_site()), EARLY)
    desk = desk.go_on(LAST, twist=lambda provider: OtherFuture(provider, EARLY))
    for text in (cross("cross"), BOTH_SIDES):
        desk.publish(text)
    return desk


@pytest.fixture
def copied(later: Desk, new_site: NewSite) -> Desk:
    """A copy of `later`, to change something in."""
    return Desk(later.site.copy_to(new_site()), LAST)
