"""The shape of an answer, and what makes one unusable.

What belongs here: checks of what came back. What does not: how it was asked (`client.py`).

The server checks the shape alone: numeric bounds of a schema become words of its description. So every number and text
is checked here, and an answer that breaks one rule is not used at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST = {"why": 700, "play": 700, "risk": 300}
MOST_RISKS = 6
_ROUNDING = 1e-9

_OF_PORTFOLIO = re.compile(
    r"(?:(\d+(?:[.,]\d+)?)\s*%?\s*(?:–|-|—|to|and)\s*)?(\d+(?:[.,]\d+)?)\s*(?:%|per\s?cent|percent)"
    r"\s+of\s+(?:the|your|a)?\s*portfolio",
    re.IGNORECASE,
)
_BUYS = re.compile(r"^\W*(?:buy|add|accumulate|start buying|go long)\b", re.IGNORECASE)
_LINK = re.compile(r"https?://|www\.|<[^>]+>|\]\(", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_SYMBOL = re.compile(r"(?<![A-Za-z0-9.^-])[A-Z0-9^][A-Z0-9.^-]*[A-Z0-9]")
_QUOTED_SYMBOL = re.compile(r"\$([A-Z][A-Z0-9.]{0,6})\b|\((?:NYSE|NASDAQ|Nasdaq|ASX)\s*:\s*([A-Z0-9.]+)\)")


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


class Unusable(Exception):
    """An answer that must not be used: `reason` is one word for the row, the message says what was wrong."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def check(words: Words, row: Mapping[str, Any], tickers: Collection[str]) -> Words:
    """`words` with texts trimmed, or `Unusable`.

    row: the row of `dip_analysis` it is about. tickers: of everything else that is analysed; the words may name
    one of them only where the inputs do.
    """
    risks = [risk.strip() for risk in words.risks]
    why, play = words.why.strip(), words.play.strip()
    _texts({"why": [why], "play": [play], "risk": risks})
    _company(words.ticker, why, [why, play, *risks], row, tickers)
    _numbers(words, play, [why, *risks], row)
    if row["action"] != "buy" and _BUYS.search(play):
        raise Unusable("wrong_action", f"the play is to buy, the action is {row['action']}")
    return words.model_copy(update={"why": why, "play": play, "risks": risks})


def _texts(texts: Mapping[str, list[str]]) -> None:
    for name, said in texts.items():
        if not 1 <= len(said) <= MOST_RISKS:
            raise Unusable("invalid", f"{len(said)} risks")
        for text in said:
            if not text or len(text) > LONGEST[name]:
                raise Unusable("invalid", f"{name} has {len(text)} characters")
            if _LINK.search(text) or _CONTROL.search(text) or "\n" in text:
                raise Unusable("invalid", f"{name} holds a link, markup or control characters")


def _company(ticker: str, why: str, texts: list[str], row: Mapping[str, Any], tickers: Collection[str]) -> None:
    own = row["ticker"]
    if ticker != own:
        raise Unusable("wrong_company", "the answer is about another ticker")
    if own not in _SYMBOL.findall(why) and own not in why:
        raise Unusable("wrong_company", "the words do not name the ticker")
    for text in texts:
        named = {first or second for first, second in _QUOTED_SYMBOL.findall(text)}
        # Three letters and more: IT, ALL and ON are words as often as tickers.
        named |= {symbol for symbol in _SYMBOL.findall(text) if symbol in tickers and len(symbol) > 2}
        strange = {symbol for symbol in named - {own} if symbol not in _SYMBOL.findall(row["inputs"])}
        if strange:
            raise Unusable("wrong_company", "the words name a ticker that the inputs do not")


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
