"""Alerts on Discord: embeds within its limits, posted to a webhook at the pace it allows.

What belongs here: the look of an alert in Discord and its HTTP. What does not: what is due, and when it is tried again.

The address of a webhook is its password. It stands in no error and no row, and httpx, which logs every address it
asks, is kept from logging this one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from trading_pipeline.alerts.channel import A, Receipt
from trading_pipeline.alerts.errors import AddressClosed, MessageRefused, NotDelivered
from trading_pipeline.alerts.facts import AlertFacts, Words, subject
from trading_pipeline.errors import SettingsError
from trading_pipeline.providers.base import retry_after
from trading_pipeline.reports import wording
from trading_pipeline.storage.outbox import fingerprint

if TYPE_CHECKING:
    import httpx

# https://discord.com/developers/docs/resources/message#embed-object-embed-limits. Lengths are counted in UTF-16 units,
# which is what clients count; a count of code points is never larger.
CONTENT, TITLE, DESCRIPTION, FIELD_NAME, FIELD_VALUE, FOOTER = 2000, 256, 4096, 256, 1024, 2048
EMBEDS, FIELDS, EMBEDS_TOTAL = 10, 25, 6000

# What one alert may fill, with at most MOST_FACTS facts and two lists: together less than EMBEDS_TOTAL, so that every
# alert fits a message.
TEXT, ADVICE, LISTED, LINE = 1500, 800, 800, 200
MOST_FACTS = 6

COLOURS = {"good": 0x2E8B57, "caution": 0xD9A441, "bad": 0xB5483A, "news": 0x4A6FA5}
ELLIPSIS = "…"
POSTS = 3
"""How often one message is posted where Discord asks for a short pause."""
USUAL_PAUSE = 60.0
"""Seconds to wait where Discord refuses for its rate limit and does not say how long."""
BLOCKED_PAUSE = 3600.0
"""Seconds to wait where not Discord but what stands before it refuses us: asking on makes such a block last."""

SHORTEST_SECRET = 8
"""Shorter parts of an address are no secrets, and hiding them would make holes in every text."""

_MARKDOWN = frozenset("\\*_~`|[]<>#")


class Discord:
    """A Discord webhook. timeout: seconds for one post. patience: the longest pause, in seconds, that is sat out here.

    sleep, monotonic: injectable, so that tests wait for nothing. `SettingsError` where the address is none.
    """

    name = "discord"

    def __init__(
        self,
        webhook: SecretStr,
        *,
        timeout: float = 10.0,
        patience: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._webhook = webhook
        self._timeout = timeout
        self._patience = patience
        self._sleep = sleep
        self._monotonic = monotonic
        self._open_again = 0.0
        self._url = _parsed(webhook)

    def __repr__(self) -> str:
        return "Discord()"

    @property
    def address(self) -> str:
        """A fingerprint of the webhook."""
        return fingerprint(self._webhook.get_secret_value())

    def messages(self, alerts: Sequence[A]) -> list[list[A]]:
        """The alerts in messages of at most ten embeds and 6,000 characters."""
        packed: list[list[A]] = []
        room = 0
        for alert in alerts:
            size = embed_size(embed(alert))
            if not packed or len(packed[-1]) == EMBEDS or size > room:
                packed.append([])
                room = EMBEDS_TOTAL
            packed[-1].append(alert)
            room -= size
        return packed

    def send(self, alerts: Sequence[AlertFacts], reference: str, now: datetime) -> Receipt:
        """Post one message of these alerts and wait until Discord says that it is stored."""
        body = message(alerts)
        for post in range(1, POSTS + 1):
            self._await_turn()
            response = self._post(body)
            if response.status_code != 429:
                self._note_quota(response)
                return self._receipt(response, now)
            wait = _pause(response, now)
            self._open_again = self._monotonic() + wait
            if post == POSTS or wait > self._patience:
                raise _too_fast(wait)
        raise AssertionError("the last post returns or raises")

    def _await_turn(self) -> None:
        wait = self._open_again - self._monotonic()
        if wait > self._patience:
            raise _too_fast(wait)
        if wait > 0:
            self._sleep(wait)

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        import httpx

        failure = ""
        with _masked_in_the_log(self._url), httpx.Client(timeout=self._timeout) as client:
            try:
                return client.post(self._url.copy_merge_params({"wait": "true"}), json=body)
            except httpx.HTTPError as error:
                failure = type(error).__name__
        # Raised out here: httpx's own errors carry the request, and with it the address.
        raise NotDelivered(f"Discord could not be reached ({failure})", "It is tried again")

    def _note_quota(self, response: httpx.Response) -> None:
        if response.headers.get("X-RateLimit-Remaining") == "0":
            self._open_again = self._monotonic() + (_seconds(response.headers.get("X-RateLimit-Reset-After")) or 0.0)

    def _receipt(self, response: httpx.Response, now: datetime) -> Receipt:
        status, said = response.status_code, _json(response)
        if response.is_success:
            given = said.get("id")
            return Receipt(str(given) if given is not None else None)
        words = self._words(said)
        if status in (401, 404) or (status == 403 and said):
            raise AddressClosed(
                f"Discord knows no such webhook or refuses it (HTTP {status}{words}); nothing more is posted to it",
                "Create a webhook in the channel's settings and set DISCORD_WEBHOOK_URL to its address",
            )
        if status == 403:
            raise NotDelivered("Discord's front blocks us (HTTP 403)", "It is tried again later", BLOCKED_PAUSE, True)
        if status >= 500:
            wait = retry_after(response.headers.get("Retry-After"), now)
            raise NotDelivered(f"Discord answered HTTP {status}", "It is tried again", wait)
        raise MessageRefused(
            f"Discord refuses the message (HTTP {status}{words})", "Check that DISCORD_WEBHOOK_URL is a Discord webhook"
        )

    def _words(self, said: dict[str, Any]) -> str:
        """Discord's own words in one line, without what only the address may hold."""
        text = " ".join(str(said.get("message", "")).split())[:200]
        for secret in _secrets(self._url):
            text = text.replace(secret, "***")
        return f", {text}" if text else ""


# --- the look ---------------------------------------------------------------------------------------------------------


def message(alerts: Sequence[AlertFacts]) -> dict[str, Any]:
    """The body of one message. Nobody is mentioned, whatever a text says."""
    return {
        "content": f"**{_cut(subject(alerts), CONTENT - len('****'))}**",
        "embeds": [embed(alert) for alert in alerts],
        "allowed_mentions": {"parse": []},
    }


def embed(alert: AlertFacts) -> dict[str, Any]:
    """One alert as an embed, every part cut to its limit."""
    words = alert.words()
    return {
        "title": _cut(words.headline, TITLE),
        "description": _cut(f"{' · '.join(words.lead)}\n\n{words.text}", TEXT),
        "color": COLOURS[words.tone],
        "fields": _fields(words),
        "footer": {"text": _cut(_footer(alert, words), LINE, plain=True)},
    }


def _fields(words: Words) -> list[dict[str, Any]]:
    advised = [_field("Your play", f"{words.advice[0]}. {words.advice[1]}", ADVICE)] if words.advice else []
    facts = [_field(name, value, LINE, inline=True) for name, value in words.facts[:MOST_FACTS]]
    lists = [_field(name, "\n".join(f"• {line}" for line in lines), LISTED) for name, lines in words.lists]
    return [*advised, *facts, *lists]


def _footer(alert: AlertFacts, words: Words) -> str:
    marked = "SIMULATED, a fictional company · " if alert.fictional else ""
    return f"{marked}Session {wording.short_day(alert.session)} · {words.source}"


def embed_size(made: dict[str, Any]) -> int:
    """What counts towards the 6,000 of a message: title, description, fields and footer."""
    fields = sum(units(field["name"]) + units(field["value"]) for field in made["fields"])
    return units(made["title"]) + units(made["description"]) + fields + units(made["footer"]["text"])


def units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _field(name: str, value: str, limit: int, *, inline: bool = False) -> dict[str, Any]:
    return {"name": name, "value": _cut(value, limit), "inline": inline}


def _cut(text: str, limit: int, *, plain: bool = False) -> str:
    """The text as Discord shows it literally, at most `limit` long; never empty, which Discord refuses.

    plain: where Discord reads no Markdown.
    """
    kept: list[str] = []
    room = limit
    for character in text.strip():
        shown = f"\\{character}" if character in _MARKDOWN and not plain else character
        room -= units(shown)
        kept.append(shown)
        if room < 0:
            while room < 1:
                room += units(kept.pop())
            return "".join(kept).rstrip() + ELLIPSIS
    return "".join(kept) or wording.UNKNOWN


# --- the service's answers --------------------------------------------------------------------------------------------


def _parsed(webhook: SecretStr) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(webhook.get_secret_value())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(
            "DISCORD_WEBHOOK_URL is not an address", "Copy it from the channel's settings, Integrations"
        )
    return url


def _secrets(url: httpx.URL) -> list[str]:
    """What must not be shown of the address: the whole, its path and the token at its end; the longest first."""
    parts = (str(url), url.path, url.path.rpartition("/")[2])
    return [part for part in parts if len(part) >= SHORTEST_SECRET]


class _Masking(logging.Filter):
    """Shows stars for the address in what httpx logs; whoever turns its log on still sees that it was asked."""

    def __init__(self, url: httpx.URL) -> None:
        super().__init__()
        self._pattern = re.compile("|".join(map(re.escape, _secrets(url))))

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes, masked."""
        record.msg, record.args = self._pattern.sub("***", record.getMessage()), ()
        return True


@contextmanager
def _masked_in_the_log(url: httpx.URL) -> Iterator[None]:
    masking = _Masking(url)
    logging.getLogger("httpx").addFilter(masking)
    try:
        yield
    finally:
        logging.getLogger("httpx").removeFilter(masking)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _pause(response: httpx.Response, now: datetime) -> float:
    """Seconds that a 429 asks us to wait: the longest of what body and headers say."""
    said = [
        _seconds(_json(response).get("retry_after")),
        _seconds(response.headers.get("Retry-After")) or retry_after(response.headers.get("Retry-After"), now),
        _seconds(response.headers.get("X-RateLimit-Reset-After")),
    ]
    return max((wait for wait in said if wait is not None), default=USUAL_PAUSE)


def _seconds(value: object) -> float | None:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _too_fast(wait: float) -> NotDelivered:
    return NotDelivered(f"Discord asks for a pause of {wait:.0f} s", "It is tried again after it", wait, True)
