"""What a person sees after `run`: the Dagster UI that `ui` serves, and the briefing, in a real browser.

The pictures of the README are taken here. With UPDATE_SCREENSHOTS=1 in the environment they go to docs/images, the
briefing from a run with the default settings; otherwise to a temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import quote

import dagster as dg
import pytest

from trading_pipeline.checks.registry import CHECKS
from trading_pipeline.settings import Settings
from trading_pipeline.storage.server import databases

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer

sync_api = pytest.importorskip("playwright.sync_api")

PROJECT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
UPDATE = os.environ.get("UPDATE_SCREENSHOTS") == "1"
MOST_BYTES = 200_000
PATIENCE = 900
GLANCE = 180
HISTORY, DECISIONS = 40, 2
SMALL = {"SIMULATED_TICKERS": "25", "HISTORY_SESSIONS": str(HISTORY), "DECISION_SESSIONS": str(DECISIONS)}
CHAIN = (
    *("received_watchlist", "universe_members", "received_bars", "received_actions"),
    *("daily_bars", "corporate_actions", "bar_issues"),
    *("indicators", "market_regime", "dip_opportunities", "daily_briefing"),
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


class Site:
    """A place of its own for the command line: a state folder, databases, a port."""

    def __init__(self, folder: Path, database_url: str, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.folder = folder
        self.settings = Settings(state_dir=folder / "state", database_url=database_url, _env_file=None)
        developers_own = {name.upper() for name in Settings.model_fields}
        self._environment = {name: value for name, value in os.environ.items() if name not in developers_own} | {
            "PYTHONPATH": str(PROJECT),
            "MARKET_DATA_PROVIDER": "simulated",
            "MARKETS": "us",
            "STATE_DIR": str(self.settings.state_dir),
            "DATABASE_URL": database_url,
            "WATCHLIST_FILE": str(folder / "watchlist.txt"),
            "WEBSERVER_PORT": self.address.rpartition(":")[2],
            **settings,
        }

    def start(self, command: str) -> subprocess.Popen[str]:
        """The command line, as make starts it; its output goes to `<command>.log`."""
        with (self.folder / f"{command}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "trading_pipeline.cli", command],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def run(self, command: str) -> str:
        """What the command prints; it must succeed."""
        status = self.start(command).wait()
        assert status == 0, self.said(command)
        return self.said(command)

    def said(self, command: str) -> str:
        """What the command printed so far."""
        return (self.folder / f"{command}.log").read_text()

    @property
    def briefing(self) -> Path:
        """The page that the last `run` named."""
        return Path(re.search(r"^Briefing\s+file://(\S+)", self.said("run"), re.MULTILINE)[1])


@pytest.fixture(scope="module")
def site(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small market, run once."""
    url = embedded_server.url(f"ui_{uuid.uuid4().hex[:12]}").get_secret_value()
    site = Site(tmp_path_factory.mktemp("site"), url, **SMALL)
    site.run("run")
    return site


@pytest.fixture(scope="module")
def latest(site: Site) -> date:
    """The session that was run."""
    return date.fromisoformat(site.briefing.stem)


@pytest.fixture(scope="module")
def passed(site: Site) -> dict[str, dict[str, bool]]:
    """By asset and check, whether it passed, as the run stored it: which do depends on the day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_POSTGRES_URL", databases(site.settings).dagster.get_secret_value())
        with dg.DagsterInstance.from_config(str(site.settings.dagster_home)) as instance:
            keys = [dg.AssetCheckKey(dg.AssetKey(["us", check.asset]), check.name) for check in CHECKS]
            found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    results: dict[str, dict[str, bool]] = {}
    for key, record in found.items():  # what no run of the site makes has none
        results.setdefault(key.asset_key.path[-1], {})[key.name] = record.event.asset_check_evaluation.passed
    return results


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Site]:
    """The site while its UI is served; `stop` must end it, and `ui` must end well."""
    ui = site.start("ui")
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(site.address):
            assert ui.poll() is None and time.monotonic() < deadline, site.said("ui")
            time.sleep(0.5)
        yield site
    finally:
        said = site.run("stop")
        try:
            status = ui.wait(PATIENCE)
        finally:
            ui.kill()
    assert status == 0, site.said("ui")
    assert "Stopped the UI and daemon of the simulated world." in said
    assert not _answers(site.address)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5) as answer:
            return answer.status == 200
    except (URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed Chromium, without a window."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def asked() -> list[str]:
    """Every address that the page of the test asked for."""
    return []


@pytest.fixture
def tab(chromium: Any, asked: list[str]) -> Iterator[Any]:
    """A tab of a desk's size, twice as sharp where it is photographed, with time to wait on a busy machine."""
    context = chromium.new_context(
        viewport={"width": 1100, "height": 900},
        color_scheme="light",
        locale="en-US",
        timezone_id="America/New_York",
        device_scale_factor=1.5,
    )
    context.set_default_timeout(GLANCE * 1000)
    sync_api.expect.set_options(timeout=GLANCE * 1000)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    # Dagster asks newcomers for an e-mail address, once per storage.
    page.add_locator_handler(page.get_by_text("Skip", exact=True), lambda button: button.click())
    yield page
    context.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: docs/images when they are to be renewed."""
    return PROJECT / "docs" / "images" if UPDATE else tmp_path_factory.mktemp("pictures")


def _save(picture: bytes, target: Path) -> None:
    """Write a screenshot with as few colours as the eye needs, so that it is small enough to commit."""
    from PIL import Image

    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    assert target.stat().st_size < MOST_BYTES


def _see(tab: Any, *texts: str | re.Pattern[str]) -> None:
    """Wait until each of the texts can be seen; Dagster keeps hidden copies of names to measure them."""
    for text in texts:
        sync_api.expect(tab.get_by_text(text, exact=True).filter(visible=True).first).to_be_visible()


def _lines(tab: Any) -> list[str]:
    """The lines of the page, one after the other, without the copies."""
    lines = [line.strip() for line in tab.locator("body").inner_text().splitlines() if line.strip()]
    return [line for line, _ in groupby(lines)]


def test_the_lineage_of_a_market_fits_one_picture(tab, served, pictures):
    tab.set_viewport_size({"width": 2200, "height": 1500})
    tab.goto(f"{served.address}/assets/us/daily_briefing?view=lineage&lineageScope=upstream&lineageDepth=9")
    _see(tab, *CHAIN)
    tab.get_by_text("Hide navigation").click()
    tab.locator("[aria-label=settings]").last.click()
    tab.get_by_role("menuitem", name="vertical orientation").click()
    tab.reload()  # the graph is fitted to its space when it is first drawn
    _see(tab, *CHAIN)
    graph = tab.locator("svg").filter(has_text="received_bars").first
    while graph.bounding_box()["height"] < 1100:  # it is fitted with much room to spare
        tab.locator("[aria-label=zoom_in]").click()
        tab.wait_for_timeout(500)
    _see(tab, *CHAIN)
    _save(tab.screenshot(clip=graph.bounding_box(), scale="css"), pictures / "lineage.png")


def test_the_groups_of_the_lineage_are_those_of_the_market(tab, served):
    of_the_market = quote('key:"us/*"', safe="")
    tab.goto(f"{served.address}/asset-groups~{of_the_market}")
    _see(tab, "universe", "market_data", "features", "regime", "dips", "reports")
    assert "marts" not in _lines(tab)


@pytest.mark.parametrize(("asset", "sessions"), [("daily_bars", HISTORY), ("dip_opportunities", DECISIONS)])
def test_the_partitions_that_were_run_are_green(tab, served, latest, asset, sessions):
    tab.goto(f"{served.address}/assets/us/{asset}?view=partitions")
    _see(tab, f"Materialized ({sessions})")
    _see(tab, "Failed (0)")
    _see(tab, latest.isoformat())


@pytest.mark.parametrize("asset", ["daily_bars", "market_regime"])
def test_every_check_of_an_asset_shows_its_result(tab, served, passed, asset):
    tab.goto(f"{served.address}/assets/us/{asset}?view=checks")
    checks = passed[asset]
    _see(tab, f"Checks ({len(checks)})", *checks)
    lines = _lines(tab)
    assert {name: lines[lines.index(name) + 1] == "Succeeded" for name in checks} == checks
    assert any(checks.values())


def test_the_schedules_tick_on_the_exchanges_clock(tab, served):
    # The list draws no more rows than fit on the screen.
    tab.set_viewport_size({"width": 1440, "height": 3000})
    tab.goto(f"{served.address}/automation")
    sync_api.expect(tab.get_by_text(re.compile("^Scheduled At")).filter(visible=True)).to_have_count(15)
    lines = _lines(tab)
    named = ("us_end_of_day", "asx_end_of_day", "us_market_week", "us_premarket", "us_live")
    told = {name: lines[lines.index(name) + 1] for name in named}
    assert re.fullmatch(r"Scheduled At 06:00 PM E[SD]T", told["us_end_of_day"])
    assert re.fullmatch(r"Scheduled At 06:00 PM (GMT\+1[01]|AE[SD]T)", told["asx_end_of_day"])
    assert re.fullmatch(r"Scheduled At 12:00 PM E[SD]T, only on Sunday", told["us_market_week"])
    assert re.fullmatch(r"Scheduled At 08:30 AM E[SD]T", told["us_premarket"])
    assert re.fullmatch(r"Scheduled At 09:20 AM E[SD]T", told["us_live"])
    assert {"us_catch_up", "us_revisions", "us_live_again", "inbox", "reaper", "run_failures"} <= set(lines)


def test_the_runs_succeeded(tab, served):
    tab.goto(f"{served.address}/runs")
    _see(tab, "us_market_data", "us_decisions", "us_premarket")
    sync_api.expect(tab.get_by_text("Success", exact=True)).to_have_count(3)
    sync_api.expect(tab.get_by_text("Failure", exact=True)).to_have_count(0)


def test_the_ui_asks_nothing_of_the_internet(tab, served, asked):
    tab.goto(f"{served.address}/overview")
    tab.wait_for_load_state("networkidle")
    assert asked
    assert [address for address in asked if not address.startswith((served.address, "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def briefed(site: Site, embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with a briefing: the small one, or one of default size where the pictures are renewed."""
    if not UPDATE:
        return site
    url = embedded_server.url(f"ui_{uuid.uuid4().hex[:12]}").get_secret_value()
    full = Site(tmp_path_factory.mktemp("full"), url)
    full.run("run")
    return full


def test_the_briefing_of_a_run_says_what_the_terminal_says(tab, briefed, asked, pictures):
    tab.goto(briefed.briefing.as_uri())
    assert asked == [tab.url]
    assert tab.title().startswith("SIMULATED")
    environment = re.search(r"Environment ([A-D]), (Bull|Bear|Sideways)", briefed.said("run"))[0]
    _see(tab, environment)
    index = tab.locator(".chart.wide").first
    assert index.bounding_box()["height"] > 100
    top = {"x": 0, "y": 0, "width": 1100, "height": 1500}
    _save(tab.screenshot(full_page=True, clip=top, scale="css"), pictures / "briefing.png")


@pytest.mark.skipif(
    not UPDATE, reason="a small market has no year of history, hence no dips; needs UPDATE_SCREENSHOTS=1"
)
def test_the_dips_of_a_full_run(tab, briefed, pictures):
    tab.goto(briefed.briefing.as_uri())
    listed = briefed.said("run").partition("\nDips below the 52-week high")[2]
    tickers = re.findall(r"^\s+(Q\d+)\s+\d+\.\d%", listed, re.MULTILINE)
    assert tickers
    shown = tab.locator(".dips tbody tr")
    assert [shown.nth(place).locator(".ticker").inner_text() for place in range(len(tickers))] == tickers
    top, last = tab.locator(".dips").bounding_box(), shown.nth(7).bounding_box()
    height = last["y"] + last["height"] - top["y"] + 8
    clip = {"x": 0, "y": top["y"] - 8, "width": 1100, "height": height}
    _save(tab.screenshot(full_page=True, clip=clip), pictures / "dips.png")
