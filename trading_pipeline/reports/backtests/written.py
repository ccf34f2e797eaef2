"""A configuration as the TOML that says it, everything it leaves to the defaults included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration


def as_toml(configuration: Configuration) -> str:
    """TOML that reads as this configuration again: keys without a value are left out, tables come last."""
    told = configuration.model_dump(mode="json", exclude_none=True)
    told |= {"first_session": configuration.first_session} if configuration.first_session else {}
    tables = {name: value for name, value in told.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {_value(value)}" for name, value in told.items() if name not in tables]
    for name, table in tables.items():
        if table:
            lines += [
                "",
                f"[{name}]",
                *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None),
            ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {_value(each)}" for key, each in value.items() if each is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # A TOML string is a JSON string; so are numbers and truth. A date is written as it is.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float) else str(value)
