"""Rules as numbers with reasons: one TOML file a subject, each entry a value and why it is what it is.

What belongs here: reading such a file into typed groups, naming every fault at once, and the version that follows the
numbers. What does not: any rule, and which numbers go together (the packages that own them).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

Reader = Callable[[Any], Any]
"""Makes the value of a field from what the file says; `ValueError` says what that is not."""


@dataclass(frozen=True)
class Reasoned:
    """What a file says, and what is wrong with it; without a fault every group is in `parts`.

    parts: dataclasses by the name of their group. reasons: by `group.name`. version: the file's own, or the first 12
    digits of a hash of the values.
    """

    parts: dict[str, Any]
    reasons: dict[str, str]
    version: str
    faults: list[str]


def groups_of(rules: type) -> dict[str, type[Any]]:
    """The fields of the dataclass `rules` that are dataclasses themselves, by name."""
    return {name: kind for name, kind in get_type_hints(rules).items() if is_dataclass(kind) and isinstance(kind, type)}


def is_number(value: object) -> bool:
    """Whether it is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def reader(holds: Callable[[Any], bool], fault: str, made: Callable[[Any], Any] = lambda value: value) -> Reader:
    """A reader that makes `made` of what `holds`; of the rest it says `fault`."""

    def read(value: Any) -> Any:
        if not holds(value):
            raise ValueError(fault)
        return made(value)

    return read


number = reader(is_number, "is no number", float)
whole = reader(lambda value: type(value) is int and value > 0, "is no whole number above 0")


def by_type(name: str, kind: object) -> Reader:
    """The reader of a field: for ints numbers that are whole and above 0, for all others finite numbers."""
    return _whole_number if kind is int else number


def read_reasoned(
    told: Mapping[str, Any],
    groups: Mapping[str, type[Any]],
    reader_of: Callable[[str, object], Reader] = by_type,
    *,
    tells_version: bool = False,
) -> Reasoned:
    """Read tables of `name = { value = …, reason = "…" }` into the dataclasses of `groups`, named as the tables are.

    reader_of: the reader of a field, by its name and type. tells_version: the file names its version itself, as text.
    """
    version = told.get("version") if tells_version else None
    faults = [f"unknown {name}" for name in told if name not in groups and not (tells_version and name == "version")]
    if tells_version and not isinstance(version, str):
        faults.append("version must be text")
    parts: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    numbers: dict[str, Any] = {}
    for group, kind in groups.items():
        table, types = told.get(group), get_type_hints(kind)
        entries = table if isinstance(table, dict) else {}
        faults += [f"unknown {group}.{name}" for name in entries if name not in types]
        values: dict[str, Any] = {}
        for field in fields(kind):
            place = f"{group}.{field.name}"
            try:
                values[field.name], reasons[place] = _read(
                    entries.get(field.name), reader_of(field.name, types[field.name])
                )
            except ValueError as fault:
                faults.append(f"{place} {fault}")
            else:
                numbers[place] = values[field.name]
        if len(values) == len(types):
            parts[group] = kind(**values)
    hashed = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:12]
    return Reasoned(parts, reasons, version if isinstance(version, str) else hashed, faults)


def refuse(subject: str, faults: Sequence[str]) -> None:
    """Raise `ValueError` with every fault of `subject`, if there is one."""
    if faults:
        raise ValueError(f"{subject} cannot be used: {'; '.join(faults)}")


def _read(entry: object, reader: Reader) -> tuple[Any, str]:
    """(value, reason) of an entry; `ValueError` says what is wrong with it."""
    if not (isinstance(entry, dict) and set(entry) == {"value", "reason"}):
        raise ValueError("needs a value and a reason, and nothing else")
    value, reason = reader(entry["value"]), entry["reason"]
    if not (isinstance(reason, str) and reason.strip()):
        raise ValueError("has no reason")
    return value, reason


def _whole_number(value: Any) -> int:
    """What is no number at all is not told to be whole."""
    number(value)
    counted: int = whole(value)
    return counted
