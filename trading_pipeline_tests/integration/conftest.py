"""Sites for the tests that run real jobs, and the span of sessions that the promises are kept over."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline_tests.promises import BARS_FROM, EVE, SPAN, Site, forgetful_instance

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer


@pytest.fixture(scope="module")
def new_site(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Site]:
    """Makes sites: each with a folder and databases of its own."""

    def make() -> Site:
        url = embedded_server.url(f"site_{uuid.uuid4().hex[:12]}").get_secret_value()
        return Site(Path(tmp_path_factory.mktemp("site")), url)

    return make


NewSite = Callable[[], Site]


@pytest.fixture(scope="module")
def bare_site(new_site: NewSite) -> NewSite:
    """Makes sites on which nobody looks at checks and events: the promises are about tables and pages."""
    return lambda: replace(new_site(), instance=forgetful_instance(), checked=False)


@pytest.fixture(scope="module")
def past(bare_site: NewSite) -> Site:
    """A site with bars up to the eve of the span: where every other site but one begins."""
    site = bare_site()
    site.run(jobs.market_data_name(US), BARS_FROM, EVE)
    return site


@pytest.fixture(scope="module")
def begun_site(past: Site, bare_site: NewSite) -> NewSite:
    """Makes sites that have that past."""
    return lambda: past.copy_to(bare_site())


@pytest.fixture(scope="module")
def day_by_day(begun_site: NewSite) -> Site:
    """A site that lived through the span: each session run on its own evening."""
    site = begun_site()
    for session in SPAN:
        site.live_through(session, session)
    return site
