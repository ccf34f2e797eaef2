"""Processes that are killed while they write, and processes that write at once: old or new, never something between."""

from __future__ import annotations

import random
import time
from datetime import date, timedelta
from itertools import pairwise

import polars as pl
import pytest

from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import DAILY_BARS

SESSIONS = [date(2023, 12, 4) + timedelta(days=day) for day in range(40)]  # across a new year: two partitions

_PRELUDE = (
    "import sys; from pydantic import SecretStr; import importlib.util as u\n"
    "spec = u.spec_from_file_location('helpers', sys.argv[3]); h = u.module_from_spec(spec)\n"
    "spec.loader.exec_module(h)\n"
    "from trading_pipeline.storage.lake import Lake; from trading_pipeline.storage.warehouse import Warehouse\n"
    "from datetime import date, timedelta\n"
    "sessions = [date(2023, 12, 4) + timedelta(days=day) for day in range(40)]\n"
    "warehouse = Warehouse(SecretStr(sys.argv[1])); number = int(sys.argv[4]); endpoint = sys.argv[5:]\n"
    "from trading_pipeline.storage.lake import storage_options\n"
    "options = storage_options(h.s3_settings_of(endpoint[0], 'any')) if endpoint else {}\n"
    "lake = Lake(sys.argv[2], warehouse, options)\n"
)
# Replaces all sessions over and over, each time with another price, until it is killed.
_REWRITER = _PRELUDE + (
    "close = 10.0\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    close += 1\n"
    "    lake.replace('us', 'daily_bars', sessions, h.bars_of(sessions, ['A', 'B'], close))\n"
    "    warehouse.replace('us', 'market_data', sessions, h.market_data_of(sessions, ['A', 'B'], close))\n"
)
_REPLACER = _PRELUDE + (
    "mine = sessions[number::4]\n"
    "for close in (1.5, 2.5, 10.0 + number):\n"
    "    lake.replace('us', 'daily_bars', mine, h.bars_of(mine, ['A', 'B'], close))\n"
)
_ABSENT = _PRELUDE + (
    "for session in sessions[:5]:\n"
    "    with lake.lock('us', 'daily_bars'):\n"
    "        if lake.read('us', 'daily_bars', session, session).is_empty():\n"
    "            lake.append('us', 'daily_bars', h.bars_of([session], ['A', 'B'], 10.0 + number))\n"
)
_PUBLISHER = _PRELUDE + (
    "from datetime import datetime, UTC\n"
    "for price in (1.0, 2.0):\n"
    "    lake.publish('us', 'dip_opportunities', sessions[:1], h.dips_of(sessions[0], {'A': price}),"
    " datetime.now(UTC))\n"
)


@pytest.fixture
def lake(any_lake) -> Lake:
    return any_lake


@pytest.fixture
def start(request, python, warehouse, lake):
    helpers = __file__.replace("test_crashes", "conftest")
    endpoint = [request.getfixturevalue("s3_endpoint")] if lake.root.startswith("s3") else []

    def go(script: str, number: int = 0):
        return python(script, warehouse.url.get_secret_value(), lake.root, helpers, number, *endpoint)

    return go


def finish(children) -> None:
    answers = [child.communicate(timeout=180)[1] for child in children]
    assert [child.returncode for child in children] == [0] * len(children), answers


def tables_of(lake: Lake, warehouse) -> tuple[pl.DataFrame, pl.DataFrame]:
    return lake.read("us", "daily_bars"), warehouse.query("SELECT ticker, date, close FROM market_data")


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment_of_writing(start, lake, warehouse, make_bars, make_market_data, seed):
    child = start(_REWRITER)
    assert child.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0.02, 0.6))
    child.kill()
    child.wait()
    in_lake, in_warehouse = tables_of(lake, warehouse)
    for frame in (in_lake, in_warehouse):
        assert frame.height in (0, 80)
        assert frame.filter(pl.col("ticker") == "A")["close"].n_unique() <= 1
    wanted = make_bars(SESSIONS, ["A", "B"], 99.0)
    lake.replace("us", "daily_bars", SESSIONS, wanted)
    warehouse.replace("us", "market_data", SESSIONS, make_market_data(SESSIONS, ["A", "B"], 99.0))
    in_lake, in_warehouse = tables_of(lake, warehouse)
    assert in_lake.sort(DAILY_BARS.key).equals(wanted.sort(DAILY_BARS.key))
    assert sorted(in_warehouse["close"]) == sorted(wanted["close"])


def test_four_processes_replacing_interleaved_sessions_of_the_same_years(start, lake):
    finish([start(_REPLACER, number) for number in range(4)])
    found = lake.read("us", "daily_bars").filter(pl.col("ticker") == "A")
    assert dict(found.select("session", "close").iter_rows()) == {
        session: 10.0 + place % 4 for place, session in enumerate(SESSIONS)
    }


def test_four_processes_appending_what_is_absent_double_nothing(start, lake):
    finish([start(_ABSENT, number) for number in range(4)])
    found = lake.read("us", "daily_bars")
    assert found.height == 10
    assert found.select("session", "ticker").is_duplicated().any() is False


def test_processes_publishing_at_once_keep_every_version_in_order(start, lake):
    finish([start(_PUBLISHER, number) for number in range(3)])
    versions = lake.read("us", "dip_opportunities").sort("computed_at")
    prices = versions["price"].to_list()
    assert all(before != after for before, after in pairwise(prices))
    assert versions["computed_at"].is_unique().all()
    assert lake.latest("us", "dip_opportunities")["price"].to_list() == prices[-1:]
