"""What an alert of a fall during a session says, and how falls get from the live loop to the outbox.

What belongs here: the facts and words of a fall, what else is known of the name, and writing both down. What does not:
who fell (`research/live/price_monitor.py`), and sending (`delivery.py`).

The loop calls `enqueue_falls` between two ticks, and a session is worth more than an alert. A row that cannot be read
is left out, a channel that cannot be used is not written for, and an alert goes without what the lake does not tell;
each is logged. A database that fails is raised: it is the one that the loop's own transactions are in, and a session
that is led on tells all of its falls again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import polars as pl
from pydantic import AwareDatetime, Field, PositiveFloat, ValidationError

from trading_pipeline.alerts.channel import channels_of, closed_ones
from trading_pipeline.alerts.dips import ACTIONS
from trading_pipeline.alerts.facts import AlertFacts, Number, Text, Words, lines
from trading_pipeline.errors import SettingsError, TradingPipelineError
from trading_pipeline.markets import Market, market_named
from trading_pipeline.reports import wording
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.outbox import Outbox
from trading_pipeline.tables import DAILY_BIAS, DIP_ANALYSIS, DIP_OPPORTUNITIES

if TYPE_CHECKING:
    from trading_pipeline.world import World

NEWS_FOR = timedelta(hours=4)
"""How long after it was seen a fall is still worth sending; the evening's dip desk tells what has become of it."""
NAMED = 3
"""How many names a message of several is headed by."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class FallAlert(AlertFacts):
    """A name that fell far during a session: a row of `research.live.FALL_COLUMNS`, and what was known of it.

    on_desk: whether it was on the dip desk after the session before, with dip_pct and action. watched: whether it is on
    the watchlist. bias, confidence, bias_reason: of the premarket. None: not known.
    """

    kind: ClassVar[str] = "fall"

    tick_at: AwareDatetime
    bar_started_at: AwareDatetime
    price: PositiveFloat
    reference: Literal["previous_close", "session_high"]
    reference_price: PositiveFloat
    fall_pct: float = Field(lt=0)
    on_desk: bool | None = None
    dip_pct: Number = None
    action: Text | None = None
    watched: bool | None = None
    bias: Text | None = None
    confidence: Number = None
    bias_reason: Text | None = None

    def words(self) -> Words:
        """The fall as any channel tells it."""
        facts = {"Dip desk": self.desk_in_words, "Watchlist": self.watched_in_words, "Bias": self.bias_in_words}
        return Words(
            headline=self.headline,
            tone="news",
            lead=(self.prices, self.seen),
            text=self.what_happened,
            facts=tuple((name, value) for name, value in facts.items() if value),
            source="Seen by the price monitor, no advice to trade",
        )

    def summary(self, others: Sequence[Self]) -> str:
        """Its headline; of several `5 names fell in the US session: AAA, BBB, CCC and 2 more`."""
        if not others:
            return self.headline
        tickers = [fall.ticker for fall in (self, *others)]
        more = f" and {len(tickers) - NAMED} more" if len(tickers) > NAMED else ""
        return f"{len(tickers)} names fell in the {self.market.upper()} session: {', '.join(tickers[:NAMED])}{more}"

    # --- in words -----------------------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """`AAA: down 6.2% from its last close`."""
        since = "its last close" if self.reference == "previous_close" else "the session's high"
        return f"{self.ticker}: down {self._depth} from {since}"

    @property
    def prices(self) -> str:
        """The price and what it fell from."""
        since = "last close" if self.reference == "previous_close" else "session's high"
        return f"{wording.price(self.price)}, {since} {wording.price(self.reference_price)}"

    @property
    def seen(self) -> str:
        """When the monitor saw it, on the exchange's clock and in UTC."""
        return f"Seen {wording.moment(self.tick_at, calendar(self._market.exchange).timezone)}"

    @property
    def what_happened(self) -> str:
        """The fall in a sentence, with the minute that the price is of."""
        minute = self.bar_started_at.astimezone(calendar(self._market.exchange).timezone)
        since = (
            f"its last close of {wording.price(self.reference_price)}"
            if self.reference == "previous_close"
            else f"{wording.price(self.reference_price)}, the highest it had been in the session"
        )
        price = wording.price(self.price)
        return f"It was at {price} in the minute from {minute:%H:%M %Z}, {self._depth} below {since}."

    @property
    def desk_in_words(self) -> str | None:
        """Whether it was a dip already; None where that is not known."""
        if self.on_desk is None:
            return None
        if not self.on_desk:
            return "Not on it"
        depth = wording.number(self.dip_pct)
        below = "" if self.dip_pct is None else f", {depth}% below its 52-week high the session before"
        said = "" if self.action is None else f" ({ACTIONS.get(self.action, self.action)})"
        return f"On it{below}{said}"

    @property
    def watched_in_words(self) -> str | None:
        """Whether somebody put it on the watchlist; None where that is not known."""
        return None if self.watched is None else "On it" if self.watched else "Not on it"

    @property
    def bias_in_words(self) -> str | None:
        """Which way it leant before the open, how surely and why; None where that is not known."""
        if self.bias is None:
            return None
        sure = "" if self.confidence is None else f", {wording.percent(self.confidence, 0)} sure"
        why = f": {self.bias_reason}" if self.bias_reason else ""
        return f"{self.bias.capitalize()} before the open{sure}{why}"

    @property
    def _depth(self) -> str:
        return f"{wording.number(-self.fall_pct)}%"

    @property
    def _market(self) -> Market:
        return market_named(self.market)


# --- to the outbox ----------------------------------------------------------------------------------------------------


def enqueue_falls(world: World, market: Market, session: date, falls: pl.DataFrame) -> None:
    """Write down the falls of a session for every channel that is set.

    falls: `research.live.FALL_COLUMNS`, those just seen or all of the session's: a name is written down once a session
    and channel. Due at once, and given up `NEWS_FOR` after the tick that saw them. Nothing is opened where no channel
    is set. Raises what the database raises, and nothing else: see the module.
    """
    if falls.is_empty():
        return
    try:
        channels = channels_of(world.settings)
    except SettingsError as error:
        _log.warning("Falls are told to nobody: %s", error)
        return
    if not channels:
        return
    outbox = Outbox(world.warehouse)
    closed = closed_ones(outbox, channels)
    names = [channel.name for channel in channels if channel.name not in closed]
    if not names:
        return
    alerts = sorted(fall_alerts(world, market, session, falls), key=attrgetter("tick_at"))
    now = world.now()
    for tick_at, seen in groupby(alerts, key=attrgetter("tick_at")):
        outbox.enqueue([fall.alert() for fall in seen], names, now=now, due_at=now, expires_at=tick_at + NEWS_FOR)


def fall_alerts(world: World, market: Market, session: date, falls: pl.DataFrame) -> list[FallAlert]:
    """The alerts of the rows `falls` that can be read, each with what is known of the name."""
    known = _Known(world, market, session)
    alerts = []
    for row in falls.iter_rows(named=True):
        facts = {**row, "world": world.name, "market": market.name, "session": session}
        try:
            alerts.append(FallAlert.model_validate(facts | known.of(row.get("instrument_id"))))
        except ValidationError as error:
            wrong = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors()}))
            _log.warning("A fall of %s is left out: %s cannot be read", row.get("ticker") or "an unknown name", wrong)
    return alerts


class _Known:
    """What the world knows of names that fell: the dip desk after the session before, the watchlist, the premarket."""

    def __init__(self, world: World, market: Market, session: date) -> None:
        before = [calendar(market.exchange).offset(session, -1)]
        self._dips = _rows(lambda: world.lake.latest(market.name, DIP_OPPORTUNITIES, before))
        self._advice = _rows(lambda: world.lake.latest(market.name, DIP_ANALYSIS, before))
        self._biases = _rows(lambda: world.lake.latest(market.name, DAILY_BIAS, [session]))
        self._watched = _unless_missing(
            lambda: frozenset(world.instruments(market).ids_of(world.watched(market), session)), None
        )

    def of(self, id_: Any) -> dict[str, Any]:
        """Fields of `FallAlert` for an instrument."""
        dip, bias = self._dips.get(id_), self._biases.get(id_, {})
        return {
            # Where nobody at all is on it, the desk was not published.
            "on_desk": (dip["on_desk"] if dip else False) if self._dips else None,
            "dip_pct": dip["dip_pct"] if dip else None,
            "action": self._advice.get(id_, {}).get("action"),
            "watched": None if self._watched is None else id_ in self._watched,
            "bias": bias.get("bias"),
            "confidence": bias.get("confidence"),
            "bias_reason": next(iter(lines(bias.get("reasons") or "")), None),
        }


def _rows(read: Callable[[], pl.DataFrame]) -> Mapping[Any, dict[str, Any]]:
    """Rows by instrument; none where they cannot be read."""
    rows = _unless_missing(read, pl.DataFrame())
    return {row["instrument_id"]: row for row in rows.iter_rows(named=True)}


def _unless_missing(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except TradingPipelineError as error:
        _log.warning("Alerts of falls go without what is known of the names: %s", error)
        return otherwise
