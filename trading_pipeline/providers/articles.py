"""What the adapters of news share: canonical addresses, ids of articles and the frame of an answer.

What belongs here: what makes two answers the same article. What does not: near-identical headlines
(`research/news/`), anything of one provider.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import polars as pl

from trading_pipeline.providers.reference import NEWS_SCHEMA

_TRACKING: Final = re.compile(
    r"utm_.*|guc?ce?_?.*|guccounter|fbclid|gclid|dclid|msclkid|mc_[ce]id|cmpid|cmp|ncid|siteid|yptr|\.?tsrc|src|ref|"
    r"ref_src|mod|oc|soc_.*|partner|taid|smid|xtor|ftag|cid|sr_share|rss|feed|via|spm|ocid",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"<[^>]*>")
_SPACE: Final = re.compile(r"\s+")
SUMMARY_LENGTH: Final = 1000


def canonical_url(url: str | None) -> str | None:
    """The address without what differs between readers: tracking parameters, fragment, `www.`, a slash at the end.

    None for what is no http address.
    """
    try:
        parts = urlsplit((url or "").strip())
        host, port = (parts.hostname or "").lower().removeprefix("www."), parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    kept = sorted((name, value) for name, value in parse_qsl(parts.query) if not _TRACKING.fullmatch(name))
    place = host if port in (None, 80, 443) else f"{host}:{port}"
    return urlunsplit(("https", place, parts.path.rstrip("/"), urlencode(kept), ""))


def article_id(url: str | None, publisher: str | None, published_at: datetime, title: str) -> str:
    """Hash of the canonical address; of publisher, time and title where there is none."""
    said = url or "\n".join((publisher or "", published_at.astimezone(UTC).isoformat(), title))
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def plain(text: Any) -> str | None:
    """Text without markup and runs of blanks; None where nothing is left or it is no text."""
    if not isinstance(text, str):
        return None
    return _SPACE.sub(" ", unescape(_TAG.sub(" ", text))).strip() or None


def article(
    symbol: str,
    *,
    title: str,
    published_at: datetime,
    url: str | None,
    publisher: str | None,
    now: datetime,
    summary: str | None = None,
    scope: str | None = None,
    relevance: float | None = None,
    sentiment: float | None = None,
    available_at: datetime | None = None,
) -> dict[str, Any]:
    """A row of `NEWS_SCHEMA`; available when published, never later than `now`, unless told otherwise."""
    address = canonical_url(url)
    return {
        "article_id": article_id(address, publisher, published_at, title),
        "symbol": symbol,
        "published_at": published_at,
        "title": title,
        "summary": summary[:SUMMARY_LENGTH] if summary else None,
        "url": address,
        "publisher": publisher,
        "scope": scope,
        "relevance": relevance,
        "provider_sentiment": sentiment,
        "available_at": min(now, available_at or published_at),
    }


def news_frame(rows: Sequence[dict[str, Any]], since: datetime, until: datetime) -> pl.DataFrame:
    """`NEWS_SCHEMA` of the rows published after `since` and not after `until`, each article once a symbol."""
    frame = pl.DataFrame([row for row in rows if since < row["published_at"] <= until], schema=NEWS_SCHEMA)
    return frame.unique(["article_id", "symbol"], keep="first", maintain_order=True).sort(
        "symbol", "published_at", "article_id"
    )
