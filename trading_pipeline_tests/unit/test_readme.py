"""What README.md and .env.example tell people to type or to open is there, and nothing a person needs is left out."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

from trading_pipeline.cli import main
from trading_pipeline.markets import MARKETS
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.universes import UNIVERSES

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
EXAMPLE = (PROJECT / ".env.example").read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()
COMPOSE = (PROJECT / "deploy" / "compose.yaml").read_text()

SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
SAID = dict(re.findall(r"^#([A-Z][A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
# Read by the tests, by make and by the container's entry point.
ELSEWHERE = {"REAL_DATA_DIR", "UPDATE_SCREENSHOTS", "DATABASE_PASSWORD", "POSTGRES_PASSWORD", "STORE_PASSWORD"}
MOST_BYTES = 200_000


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


COMMANDS = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
QUOTED = re.findall(r"`([^`\n]+)`", PROSE)


def test_env_example_names_every_setting_and_no_other():
    assert set(SAID) == set(SETTINGS)
    assert len(SAID) == len(re.findall(r"^#[A-Z][A-Z_]+=", EXAMPLE, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_env_example_shows_the_default(name):
    default = SETTINGS[name].default
    if isinstance(default, tuple):
        default = ",".join(f"{item:g}" if isinstance(item, float) else item for item in default)
    elif isinstance(default, Path):
        default = default.relative_to(PROJECT)
    assert SAID[name] == ("" if default is None else str(default))


def test_every_variable_of_the_readme_is_a_setting_or_known_elsewhere():
    named = set(re.findall(r"\b([A-Z][A-Z0-9]*_[A-Z_]+)(?==|\b)", README))
    assert named - set(UNIVERSES) <= set(SETTINGS) | ELSEWHERE
    assert {"POSTGRES_PASSWORD", "STORE_PASSWORD"} == set(re.findall(r"\$\{(\w+):\?", COMPOSE))


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    typed = {target for command in [*COMMANDS, *QUOTED] for target in re.findall(r"\bmake ([a-z]+)", command)}
    assert {"run", "test", "ui", "stop", "doctor", "bench", "check", "help"} <= typed
    assert typed <= targets


def test_every_command_of_the_command_line_exists():
    typed = set(re.findall(r"trading_pipeline\.cli ([a-z]+)", README))
    assert typed
    assert typed <= set(main.commands)
    options = {option for command in main.commands.values() for item in command.params for option in item.opts}
    assert set(re.findall(r"trading_pipeline\.cli .*?(--[a-z]+)", README)) <= options


def test_every_module_that_is_run_can_be_found():
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert find_spec(module), module


def test_every_file_and_folder_of_the_readme_exists():
    words = {word for text in [*QUOTED, *COMMANDS] for word in text.split() if not word.startswith(("http", "~", "-"))}
    paths = {word for word in words if re.fullmatch(r"\.?[\w.-]+(/[\w.-]*)+", word)}
    paths |= {word for word in words if re.fullmatch(r"[\w-]+\.(py|yaml|md|csv)", word)}
    assert len(paths) > 15
    homes = (PROJECT, PROJECT / "trading_pipeline", PROJECT / "trading_pipeline_tests")
    installed = {".venv/bin/python", ".venv/bin/dagster"}
    missing = [path for path in paths - installed if not any((home / path).exists() for home in homes)]
    assert missing == []


def test_the_map_of_the_project_is_the_project():
    """Folders and modules in the README's map, and every folder of the package in the map."""
    drawn = next(block for block in blocks("") if block.startswith("trading_pipeline/"))
    named = set(re.findall(r"(?:^|\s{2,})(\w+(?:/|\.py))(?=\s)", drawn, re.MULTILINE)) - {"trading_pipeline/"}
    homes = (PROJECT, PROJECT / "trading_pipeline")
    assert [name for name in named if not any((home / name).exists() for home in homes)] == []
    folders = {
        f"{folder.name}/" for folder in (PROJECT / "trading_pipeline").iterdir() if (folder / "__init__.py").is_file()
    }
    assert folders <= named


def test_the_pictures_are_there_small_and_described():
    pictures = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]+)">', README)
    assert {Path(source).name for source, _ in pictures} == {"lineage.png", "briefing.png", "dips.png"}
    assert {PROJECT / source for source, _ in pictures} == set((PROJECT / "docs" / "images").iterdir())
    for source, text in pictures:
        assert (PROJECT / source).stat().st_size < MOST_BYTES
        assert len(text) > 20


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_readme_uses_what_exists(code):
    tree = ast.parse(code)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported
    for node in imported:
        module = importlib.import_module(node.module)
        for alias in node.names:
            assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def test_the_summary_shown_is_what_the_summary_prints():
    """The headings of the README's sample stand in the module that prints them."""
    printed = (PROJECT / "trading_pipeline" / "reports" / "summary.py").read_text()
    sample = next(block for block in blocks("") if "Environment A" in block)
    for words in ("SIMULATED:", "Dips below the 52-week high:", "Quarantine:", "Briefing  ", "Provider  "):
        assert words in sample
        assert words in printed
    header = next(line for line in sample.splitlines() if line.strip().startswith("Ticker"))
    assert all(f'"{name}"' in printed for name in re.split(r"\s{2,}", header.strip()) if name != "USD")


def test_the_limits_are_those_of_the_data():
    limits = "".join(
        takewhile(lambda part: not part.startswith("## "), README.split("## Limits\n")[1].splitlines(True))
    )
    assert f"`{UNIVERSES['ASX200'].key}` is one snapshot of {UNIVERSES['ASX200'].known_from:%B %Y}" in limits
    for key in ("SPX500", "NASDAQ100"):
        assert f"{UNIVERSES[key].known_from:%B %Y}" in limits
    assert f"the end of {UNIVERSES['MEGA_CAP'].as_of.year - 1}" in limits
    last = min(calendar(market.exchange).last_day for market in MARKETS.values())
    assert f"the end of {last.year}" in limits
