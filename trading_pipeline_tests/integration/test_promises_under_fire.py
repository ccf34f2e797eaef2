"""The promises under fire, for every session asset: killed at any write, and run by two processes at once.

*Crash safety*: what is there can be read, and a rerun converges. *Concurrency*: two runs of the same sessions end as
one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline.tables import ALL_TABLES
from trading_pipeline_tests.promises import (
    ASSETS,
    DERIVED,
    FIRST,
    LAST,
    PREMARKET,
    XNYS,
    Site,
    Worker,
    differences,
    steps_of,
)

NewSite = Callable[[], Site]

KILLED_AT = (1, 2, 3, 4, 5, 6, 7, 8, 13, 21, 34, 55, 89)
"""Each write of a step that makes tables; of one that makes a page for each name, whose writes are alike, these."""


@pytest.fixture(scope="module")
def killed_at_every_write(begun_site: NewSite) -> Site:
    """A site on whose last session each step was killed at one write after another, then ended.

    After every kill the step's tables are read: a state nobody can read fails here.
    """
    site, evening, morning = begun_site(), jobs.end_of_day_name(US), jobs.premarket_name(US)
    site.live_through(FIRST, XNYS.offset(LAST, -1))
    steps = [(evening, made) for made in steps_of(site, evening)]
    for job, made in [*steps, *((morning, made) for made in steps_of(site, morning, PREMARKET))]:
        worker = Worker(site, job, LAST, only=made)
        for write in KILLED_AT:
            fate = worker.start(die_at=write, after=write % 2 == 0).end()
            for name in made:
                if name in ALL_TABLES:
                    site.contents(name, [LAST])
            if fate.exit_code == 0:
                assert fate.writes < write
                break
            assert fate.exit_code == -9, fate.complaint
        else:
            raise AssertionError(f"{', '.join(made)} never came to an end")
        worker.close()
    return site


@pytest.mark.parametrize("name", DERIVED)
def test_killed_at_any_write_a_rerun_converges(name: str, killed_at_every_write: Site, day_by_day: Site) -> None:
    assert differences(name, killed_at_every_write.contents(name, [LAST]), day_by_day.contents(name, [LAST])) == []


@pytest.fixture(scope="module")
def two_at_once(begun_site: NewSite) -> Site:
    """A site whose last session was run by two processes at the same time."""
    site = begun_site()
    site.live_through(FIRST, XNYS.offset(LAST, -1))
    for job, only in ((jobs.end_of_day_name(US), ()), (jobs.premarket_name(US), PREMARKET)):
        workers = [Worker(site, job, LAST, only=only).start() for _ in range(2)]
        fates = [worker.end() for worker in workers]
        for worker in workers:
            worker.close()
        assert [fate.exit_code for fate in fates] == [0, 0], [fate.complaint for fate in fates]
    return site


@pytest.mark.parametrize("name", ASSETS)
def test_two_runs_at_once_end_as_one(name: str, two_at_once: Site, day_by_day: Site) -> None:
    assert differences(name, two_at_once.contents(name, [LAST]), day_by_day.contents(name, [LAST])) == []
