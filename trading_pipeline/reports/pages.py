"""What every page shares: the template environment, the one script, and the policy that lets nothing else run.

What belongs here: how a page is put together. What does not: what is on it (`briefing.py`, `tearsheets/`,
`premarket/`, `trading_day/`).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from trading_pipeline.reports import decisions, wording

if TYPE_CHECKING:
    from jinja2 import Environment

_FILTERS = ("percent", "number", "plain", "price", "cash", "day", "short_day", "weekday", "clock", "times", "large")
_WORDS = ("cause_name", "timing", "names", "lines", "spelled", "flag_words")


@cache
def environment() -> Environment:
    """The templates of this package, everything put into them escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("trading_pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        made.filters[name] = getattr(wording, name)
    for name in _WORDS:
        made.filters[name] = getattr(decisions, name)
    made.filters["key"] = _key
    script = resources.files(__package__).joinpath("templates/sort.js.j2").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals |= {
        "count": wording.count,
        "share": wording.share,
        "amounts": wording.amounts,
        "size": decisions.size,
        "peer_line": decisions.peer_line,
        "verdict_line": decisions.verdict_line,
        "components": decisions.COMPONENTS,
        "causes": decisions.CAUSES,
        # A headline is hostile input: were it ever to reach a page unescaped, the policy would still not let it run.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "script": markup(script),
    }
    return made


def _key(value: float | None) -> str:
    """A number to sort by. The last bits of one depend on how long a range it was computed in; a page must not."""
    return "" if value is None else f"{round(value, 9):.4f}"


def markup(text: str) -> Any:
    """Text that is put into a page as it is: drawings and the script, made here from numbers and dates alone."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - see above; nothing that comes with the data passes here
