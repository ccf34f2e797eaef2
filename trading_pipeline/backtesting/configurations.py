"""The configurations of a world: TOML files, those that come with the package and those of the user's own folder.

What belongs here: finding and reading the files. What does not: what a configuration may say
(`research/backtest/configuration.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import Market
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline.research.backtest.configuration import Configuration

SHIPPED = "shipped"
"""Folder of the configurations that come with the package, beside this module."""


@dataclass(frozen=True)
class Found:
    """The configurations of every market by name, and what is wrong with the files that cannot be used."""

    configurations: dict[str, Configuration]
    faults: list[str]

    def of(self, market: Market) -> dict[str, Configuration]:
        """Those of a market, by name."""
        return {name: told for name, told in self.configurations.items() if told.market == market.name}


def found(settings: Settings) -> Found:
    """Every configuration there is; a file that cannot be used is named in `faults` and does not keep others out.

    A file is named as its configuration is. One of the user's own may not have the name of a shipped one.
    """
    from trading_pipeline.research.backtest.configuration import ConfigurationError, parse_configuration

    configurations: dict[str, Configuration] = {}
    faults = []
    for place, text in _texts(settings):
        try:
            told = parse_configuration(text)
        except ConfigurationError as error:
            faults.append(f"{place}: {error}")
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
    from trading_pipeline.research.backtest.configuration import ConfigurationError, parse_configuration

    if name.endswith(".toml"):
        try:
            return parse_configuration(Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputRefused(f"{name} cannot be read ({error})", "Give a readable TOML file") from None
        except ConfigurationError as error:
            raise InputRefused(f"{name}: {error}", "Mend that in the file") from None
    everything = found(settings)
    if name in everything.configurations:
        return everything.configurations[name]
    mine = [fault for fault in everything.faults if Path(fault.partition(":")[0]).stem == name]
    if mine:
        raise InputRefused(mine[0], "Mend that in the file")
    raise UnknownName.of("configuration", name, everything.configurations)


def kept(settings: Settings, path: str, configuration: Configuration) -> Path:
    """Copy a file into the user's folder under the configuration's name, and where it is then.

    `InputRefused` where another configuration of that name is there, or comes with the package.
    """
    target = settings.backtests / f"{configuration.name}.toml"
    if target.exists() and target.samefile(path):
        return target
    there = found(settings).configurations.get(configuration.name)
    if there is not None and (not target.exists() or there.hash != configuration.hash):
        raise InputRefused(
            f"There is another configuration named {configuration.name}",
            f"Give yours another name, or change {target}" if target.exists() else "Give yours another name",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Path(path).read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise InputRefused(f"{target} cannot be written ({error.strerror})", "Make the folder writable") from None
    return target


def _texts(settings: Settings) -> list[tuple[Path, str]]:
    """Path and text of every file, the shipped ones first."""
    with resources.as_file(resources.files(__package__) / SHIPPED) as shipped:
        places = sorted(Path(shipped).glob("*.toml"))
        places += sorted(settings.backtests.glob("*.toml"))
        return [(place, place.read_text(encoding="utf-8", errors="replace")) for place in places]
