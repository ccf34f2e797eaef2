"""The configurations of a world: TOML files, those that come with the package and those of the user's own folder.

What belongs here: finding and reading the files. What does not: what a configuration may say
(`research/backtest/configuration.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import Market
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline.research.backtest.configuration import Configuration
    from trading_pipeline.research.sweeps import ParameterGrid

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the configurations that come with the package."""

_REMEDY = "Mend that in the file"


@dataclass(frozen=True)
class Found:
    """The configurations of every market by name, and what is wrong with the files that cannot be used.

    waiting: by name, what the configurations lack that `with_bars` has set aside.
    """

    configurations: dict[str, Configuration]
    faults: list[str]
    waiting: dict[str, str] = field(default_factory=dict)

    def of(self, market: Market) -> dict[str, Configuration]:
        """Those of a market, by name."""
        return {name: told for name, told in self.configurations.items() if told.market == market.name}

    def with_bars(self, market: Market, sessions: Sequence[date]) -> Found:
        """The same, with the configurations of a market set aside that its sessions with bars are too few for.

        They are at fault in nothing: a history that is young grows.
        """
        lacks = {name: _lacking(told, sessions) for name, told in self.of(market).items()}
        waiting = {name: lack for name, lack in lacks.items() if lack is not None}
        ready = {name: told for name, told in self.configurations.items() if name not in waiting}
        return replace(self, configurations=ready, waiting=waiting)


def found(settings: Settings) -> Found:
    """Every configuration there is; a file that cannot be used is named in `faults` and does not keep others out.

    A file is named as its configuration is. One of the user's own may not have the name of a shipped one.
    """
    configurations: dict[str, Configuration] = {}
    faults = []
    for place in _places(settings):
        try:
            told = _read(place)
        except InputRefused as error:
            faults.append(error.problem)
            continue
        if told.name != place.stem:
            faults.append(f"{place}: it names itself {told.name}: name the file {told.name}.toml, or it {place.stem}")
        elif told.name in configurations:
            faults.append(f"{place}: there is a configuration {told.name} already: give it another name")
        else:
            configurations[told.name] = told
    return Found(dict(sorted(configurations.items())), faults)


def configuration_named(settings: Settings, name: str) -> Configuration:
    """The configuration of that name, or in the TOML file of that path.

    `UnknownName` lists the known ones; `InputRefused` where the file cannot be used.
    """
    if name.endswith(".toml"):
        return _read(Path(name).expanduser())
    everything = found(settings)
    if name in everything.configurations:
        return everything.configurations[name]
    mine = tuple(f"{place}: " for place in _places(settings) if place.stem == name)
    fault = next((fault for fault in everything.faults if fault.startswith(mine)), None) if mine else None
    if fault is not None:
        raise InputRefused(fault, _REMEDY)
    raise UnknownName.of("configuration", name, everything.configurations)


def kept(settings: Settings, path: str, configuration: Configuration) -> Path:
    """Copy a file into the user's folder under the configuration's name, and where it is then.

    `InputRefused` where another configuration of that name comes with the package, or another file lies there:
    nothing of the user's is written over.
    """
    target, file = settings.backtests / f"{configuration.name}.toml", Path(path).expanduser()
    if target.exists():
        if target.samefile(file) or target.read_bytes() == file.read_bytes():
            return target
        raise InputRefused(
            f"There is another file {target}", f"Change that one, or give the configuration in {path} another name"
        )
    if configuration.name in found(settings).configurations:
        raise InputRefused(
            f"A configuration named {configuration.name} comes with the package", f"Give the one in {path} another name"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: the sensor may look at any moment. What begins with a dot it does not look at.
        scratch = target.with_name(f".{target.name}")
        scratch.write_bytes(file.read_bytes())
        scratch.replace(target)
    except OSError as error:
        raise InputRefused(f"{target} cannot be written ({error.strerror})", "Make the folder writable") from None
    return target


def sweep_grid(configuration: Configuration) -> ParameterGrid:
    """The parameter sets of a configuration's sweep; `StrategyError` where its strategy does not take them."""
    return _grid(configuration.strategy, json.dumps(configuration.sweep))


def _lacking(configuration: Configuration, sessions: Sequence[date]) -> str | None:
    """What of bars a configuration lacks; None where it can be backtested on those sessions, ascending."""
    needed, since = configuration.built().warm_up + 2, configuration.first_session
    if len(sessions) < needed:
        return f"it needs {needed} sessions of bars, there are {len(sessions)}"
    if since is not None and sum(session >= since for session in sessions[-2:]) < 2:
        return f"it begins with {since}, and bars end with {sessions[-1]}"
    return None


def _places(settings: Settings) -> list[Path]:
    """Every file, the shipped ones first."""
    own = (place for place in settings.backtests.glob("*.toml") if not place.name.startswith("."))
    return [*sorted(SHIPPED.glob("*.toml")), *sorted(own)]


def _read(place: Path) -> Configuration:
    """The configuration in a file; `InputRefused` says why it is none, or why its sweep cannot be computed."""
    from trading_pipeline.research.backtest.configuration import ConfigurationError, parse_configuration
    from trading_pipeline.research.strategies.base import StrategyError

    try:
        told = parse_configuration(place.read_text(encoding="utf-8"))
        if told.sweep:
            sweep_grid(told)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputRefused(f"{place}: it cannot be read ({why})", "Give a readable TOML file") from None
    except (ConfigurationError, StrategyError) as error:
        raise InputRefused(f"{place}: {error}", _REMEDY) from None
    if told.sweep and told.costs.slippage.kind == "volume_share":
        raise InputRefused(
            f"{place}: a [sweep] cannot know the volume share of its fills: set [costs] slippage to fixed or spread",
            _REMEDY,
        )
    return told


@lru_cache(maxsize=64)
def _grid(strategy: str, ranges: str) -> ParameterGrid:
    # A grid of 10,000 sets takes 80 ms to make, and the sensor asks for it every minute.
    from trading_pipeline.research.sweeps import parameter_grid

    return parameter_grid(strategy, json.loads(ranges))
