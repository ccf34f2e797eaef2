"""Named screens: filters over published columns, as data.

What belongs here: loading, checking and applying screens, and the frame they filter. What does not: the screens
themselves (`screens.toml`, and files of a user's own).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, TypeAdapter

SCREENS_FILE = Path(__file__).with_name("screens.toml")

_KEY = ("session", "instrument_id")


class Screen(BaseModel):
    """A screen: its name, what it looks for, the condition, and why its numbers are what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    where: str
    reason: str


class UnknownColumn(ValueError):
    """A screen asks for a column that is not published. The message names it and those that are."""


class BadScreen(ValueError):
    """A screen's condition cannot be read, or is no condition."""


def load_screens(*paths: Path) -> list[Screen]:
    """The screens of TOML files, the ones that come with the package where none is given; later ones replace earlier
    ones of the same name. `ValueError` (pydantic's) says what is wrong with a file, `TOMLDecodeError` where."""
    tables: dict[str, dict[str, str]] = {}
    for path in paths or (SCREENS_FILE,):
        tables |= tomllib.loads(path.read_text(encoding="utf-8"))
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadScreen(f"{name} is no screen: write a table [{name}] with title, description, where and reason")
    given = [{"name": name, **table} for name, table in tables.items()]
    return TypeAdapter(list[Screen]).validate_python(given)


def screen_frame(
    scores: pl.DataFrame, fundamentals: pl.DataFrame, indicators: pl.DataFrame, dips: pl.DataFrame
) -> pl.DataFrame:
    """Every score with the columns of its fundamentals, indicators and dip; null where it has none.

    Frames of the tables of those names, empty ones included. Where two have a column of one name, the first holds.
    """
    frame = scores
    for other in (fundamentals, indicators, dips):
        new = [name for name in other.columns if name not in frame.columns]
        frame = frame.join(other.select(*_KEY, *new), on=_KEY, how="left", maintain_order="left")
    return frame


def apply_screens(frame: pl.DataFrame, screens: Sequence[Screen]) -> pl.DataFrame:
    """[session, instrument_id, screen]: which screens each row passes, by session, instrument and screen.

    frame: of `screen_frame`. A condition may use its columns alone, in SQL expressions (no queries); it is evaluated
    within each session, so that an aggregate is the session's. Unknown (null) is not passed. Raises `UnknownColumn`,
    and `BadScreen` for a condition that cannot be read or is not true or false.
    """
    passed = [frame.filter(_met(frame, screen)).select(*_KEY, screen=pl.lit(screen.name)) for screen in screens]
    schema = pl.Schema({**{name: frame.schema[name] for name in _KEY}, "screen": pl.String()})
    return pl.concat([pl.DataFrame(schema=schema), *passed]).sort(*_KEY, "screen")


def _met(frame: pl.DataFrame, screen: Screen) -> pl.Series:
    """Whether each row meets a screen's condition."""
    try:
        condition = pl.sql_expr(screen.where)
    except pl.exceptions.PolarsError as failure:
        raise BadScreen(f"Screen {screen.name} cannot be read: {failure}") from failure
    unknown = sorted(set(condition.meta.root_names()) - set(frame.columns))
    if unknown:
        raise UnknownColumn(
            f"Screen {screen.name} asks for {', '.join(unknown)}; the columns are {', '.join(sorted(frame.columns))}"
        )
    try:
        met = frame.select(condition.over("session")).to_series()
    except pl.exceptions.PolarsError as failure:
        raise BadScreen(f"Screen {screen.name} does not work: {failure}") from failure
    if met.dtype != pl.Boolean:
        raise BadScreen(f"Screen {screen.name} is no condition: it gives {met.dtype}, not true or false")
    return met.fill_null(False)
