"""The shape of the words for a dip, and what makes them unusable.

What belongs here: checks of what came back. What does not: how it was asked (`client.py`).

The server checks the shape alone: numeric bounds of a schema become words of its description. So every number and text
is checked here, and an answer that breaks one rule is not used at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trading_pipeline.analyst.texts import Unusable, only_about, plain

LONGEST = {"why": 700, "play": 700, "risk": 300}
MOST_RISKS = 6
_ROUNDING = 1e-9

_OF_PORTFOLIO = re.compile(
    r"(?:(\d+(?:[.,]\d+)?)\s*%?\s*(?:–|-|—|to|and)\s*)?(\d+(?:[.,]\d+)?)\s*(?:%|per\s?cent|percent)"
    r"\s+of\s+(?:the|your|a)?\s*portfolio",
    re.IGNORECASE,
)
_BUYS = re.compile(r"^\W*(?:buy|add|accumulate|start buying|go long)\b", re.IGNORECASE)


class Words(BaseModel):
    """What the model says of one dip."""

    model_config = ConfigDict(extra="forbid")

    ticker: str = Field(description="The ticker of the input, unchanged.")
    why: str = Field(description="Why it dipped, two or three sentences; begins with the ticker.")
    outlook: Literal["temporary", "lasting", "unclear"] = Field(description="Whether what caused it is likely to pass.")
    play: str = Field(description="What to do, in plain words; fits the action of the input.")
    risks: list[str] = Field(description="What could go wrong, one sentence each, the worst first; one to six.")
    size_low: float = Field(description="Share of the portfolio, fraction, inside the bounds of the input.")
    size_high: float = Field(description="Share of the portfolio, fraction, inside the bounds of the input.")


def check(words: Words, row: Mapping[str, Any], tickers: Collection[str]) -> Words:
    """`words` with texts trimmed, or `Unusable`.

    row: the row of `dip_analysis` it is about. tickers: of everything else that is analysed; the words may name
    one of them only where the inputs do.
    """
    if not 1 <= len(words.risks) <= MOST_RISKS:
        raise Unusable("invalid", f"{len(words.risks)} risks")
    why, play = (plain(name, getattr(words, name), LONGEST[name]) for name in ("why", "play"))
    risks = [plain("risk", risk, LONGEST["risk"]) for risk in words.risks]
    if words.ticker != row["ticker"]:
        raise Unusable("wrong_company", "the answer is about another ticker")
    if row["ticker"] not in why:
        raise Unusable("wrong_company", "the words do not name the ticker")
    only_about(row["ticker"], [why, play, *risks], row["inputs"], tickers)
    _numbers(words, play, [why, *risks], row)
    if row["action"] != "buy" and _BUYS.search(play):
        raise Unusable("wrong_action", f"the play is to buy, the action is {row['action']}")
    return words.model_copy(update={"why": why, "play": play, "risks": risks})


def _numbers(words: Words, play: str, others: list[str], row: Mapping[str, Any]) -> None:
    low, high = float(row["size_low"]), float(row["size_high"])
    if not low - _ROUNDING <= words.size_low <= words.size_high <= high + _ROUNDING:
        said = f"a size of {words.size_low:g} to {words.size_high:g}"
        raise Unusable("out_of_range", f"{said} is not within {low:g} to {high:g}")
    for text in (play, *others):
        for ends in _OF_PORTFOLIO.findall(text):
            for end in filter(None, ends):
                share = float(end.replace(",", ".")) / 100
                if not low - _ROUNDING <= share <= high + _ROUNDING:
                    raise Unusable("out_of_range", f"{share:g} of the portfolio is not within {low:g} to {high:g}")
