"""What no text of an answer may hold, whichever question it answers.

What belongs here: checks of free text. What does not: checks of numbers and of what a text is about (beside each
question).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_LINK = re.compile(r"https?://|www\.|<[^>]+>|\]\(", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_SYMBOL = re.compile(r"(?<![A-Za-z0-9.^-])[A-Z0-9^][A-Z0-9.^-]*[A-Z0-9]")
_QUOTED_SYMBOL = re.compile(r"\$([A-Z][A-Z0-9.]{0,6})\b|\((?:NYSE|NASDAQ|Nasdaq|ASX)\s*:\s*([A-Z0-9.]+)\)")


class Unusable(Exception):
    """An answer that must not be used: `reason` is one word for the row, the message says what was wrong."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def plain(name: str, text: str, longest: int) -> str:
    """`text` trimmed; `Unusable` where it is empty, too long, more than a line, or holds a link or markup."""
    text = text.strip()
    if not text or len(text) > longest:
        raise Unusable("invalid", f"{name} has {len(text)} characters")
    if _LINK.search(text) or _CONTROL.search(text) or "\n" in text:
        raise Unusable("invalid", f"{name} holds a link, markup or control characters")
    return text


def symbols(text: str) -> list[str]:
    """What in a text looks like a ticker."""
    return _SYMBOL.findall(text)


def only_about(own: str | None, texts: Iterable[str], inputs: str, others: Collection[str] = ()) -> None:
    """`Unusable` where a text names a ticker that neither is `own` nor stands in `inputs`.

    Named is what is quoted as a ticker ($XMPL, (NYSE: XMPL)) and what is one of `others` with three letters and more:
    IT, ALL and ON are words as often as tickers.
    """
    known = {own, *symbols(inputs)}
    for text in texts:
        named = {first or second for first, second in _QUOTED_SYMBOL.findall(text)}
        named |= {symbol for symbol in symbols(text) if symbol in others and len(symbol) > 2}
        if named - known:
            raise Unusable("wrong_company", "the words name a ticker that the inputs do not")
