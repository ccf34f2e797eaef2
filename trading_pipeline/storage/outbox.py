"""The outbox of alerts: what is to be told is first written down, then told, and struck off when it was.

What belongs here: which alert is due, whose it is to send, and how it ended. What does not: what an alert says and how
it travels (`alerts/`), and when anybody looks (`automation/`).

An alert is sent at least once. A sender claims a *batch* before it sends, and a claim that its sender does not renew
ends by itself, so that a killed sender's alerts are sent by the next. Between the moment a message is accepted and the
moment that is written down nothing can be known of a sender that dies: then, and only then, a message goes out twice.
A batch, once made, stays together through every attempt: one e-mail keeps its content and with it its Message-ID, and
mail readers show two of them as one.

The server's clock judges claims, so machines whose clocks disagree never hold the same one; when an alert is due is a
matter of the world's clock, which the callers pass in.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from trading_pipeline.storage.locks import Database, lock_key
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.versions import aware

LEASE = timedelta(minutes=5)
"""How long a claim lasts after it was made or renewed: several times what sending one message may take."""
ATTEMPTS = 12
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)
"""Waits double from the first to the longest: twelve attempts span six hours, an outage of an evening."""
DIED = "every sender that tried it was killed or ended by an error"
EXPIRED = "it could not be sent while it was news"

_ENQUEUE = """
INSERT INTO alert_outbox (
    dedup_key, kind, market, session, instrument_id, ticker, threshold_pct, channel, payload, created_at,
    next_attempt_at, expires_at
)
SELECT %(dedup_key)s, %(kind)s, %(market)s, %(session)s, %(instrument_id)s, %(ticker)s,
    %(threshold_pct)s::double precision, %(channel)s, %(payload)s, %(now)s, %(due_at)s, %(expires_at)s
WHERE NOT EXISTS (
    SELECT FROM alert_outbox AS told
    WHERE told.kind = %(kind)s AND told.market = %(market)s AND told.instrument_id = %(instrument_id)s
        AND told.channel = %(channel)s AND told.session >= %(quiet_since)s AND told.session < %(session)s
        AND told.threshold_pct >= %(threshold_pct)s::double precision
)
ON CONFLICT (dedup_key) DO NOTHING
"""

_FIRST_DUE = """
SELECT kind, market, session, batch FROM alert_outbox
WHERE channel = %(channel)s AND sent_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= %(now)s
    AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
ORDER BY next_attempt_at, session, batch, dedup_key LIMIT 1
"""

_DUE_WITH_IT = """
SELECT dedup_key, payload FROM alert_outbox
WHERE channel = %(channel)s AND sent_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= %(now)s
    AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
    AND kind = %(kind)s AND market = %(market)s AND session = %(session)s
    AND batch IS NOT DISTINCT FROM %(batch)s
ORDER BY ticker, dedup_key LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True)
class Alert:
    """Something to be told on every channel, once: what happened to an instrument on a session.

    kind: what it is about, and how the payload is read: `dip`, `fall`. payload: what is told, a JSON object.
    threshold_pct: the threshold it passed, where each one passed is an alert of its own; None: one a session.
    """

    kind: str
    market: str
    session: date
    instrument_id: str
    ticker: str
    payload: dict[str, Any]
    threshold_pct: float | None = None

    def dedup_key(self, channel: str) -> str:
        """What makes it the same alert on the same channel."""
        key = f"{self.kind}/{channel}/{self.market}/{self.session}/{self.instrument_id}"
        return key if self.threshold_pct is None else f"{key}/{self.threshold_pct:g}"


@dataclass(frozen=True)
class Claimed:
    """One alert of a batch."""

    dedup_key: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Alerts of one kind, market and session that are this sender's to send, by ticker.

    name: the same for the same batch at every attempt. claim: tells this sender's attempt from all others.
    """

    name: str
    claim: uuid.UUID
    kind: str
    market: str
    session: date
    alerts: tuple[Claimed, ...]


class Outbox:
    """The outbox of one world's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- putting in ---------------------------------------------------------------------------------------------------

    def enqueue(
        self,
        alerts: Sequence[Alert],
        channels: Sequence[str],
        *,
        now: datetime,
        due_at: datetime,
        expires_at: datetime,
        quiet_since: date | None = None,
    ) -> int:
        """Write down the alerts for each of the channels, in one transaction; how many were not there yet.

        quiet_since: an alert is left out where one of its kind on the same instrument, at this threshold or a deeper
        one, was written down for an earlier session since then: a dip that a revision took back and brought again is no
        news.
        """
        rows = [
            {
                "dedup_key": alert.dedup_key(channel),
                "kind": alert.kind,
                "market": alert.market,
                "session": alert.session,
                "instrument_id": alert.instrument_id,
                "ticker": alert.ticker,
                "threshold_pct": alert.threshold_pct,
                "channel": channel,
                "payload": Jsonb(alert.payload),
                "now": aware(now),
                "due_at": aware(due_at),
                "expires_at": aware(expires_at),
                "quiet_since": quiet_since or alert.session,
            }
            for alert in alerts
            for channel in channels
        ]
        if not rows:
            return 0
        with connect(self._database.url) as connection, connection.cursor() as cursor:
            cursor.executemany(_ENQUEUE, rows)
            return cursor.rowcount

    # --- taking out ---------------------------------------------------------------------------------------------------

    def claim(self, channel: str, now: datetime, *, lease: timedelta = LEASE, limit: int = 500) -> Batch | None:
        """Take the batch of the channel that has been due longest; None where nothing is due and free.

        A batch that was begun before is taken as it was. A new one is made of the due alerts of one kind, market and
        session, `limit` at most. What has expired, or was claimed for its last attempt by a sender that died, is given
        up.
        """
        claim = uuid.uuid4()
        at = {"channel": channel, "now": aware(now), "lease": lease, "claim": claim, "attempts": ATTEMPTS}
        with self._alone(channel) as cursor:
            self._end_the_hopeless(cursor, at)
            cursor.execute(_FIRST_DUE, at)
            head = cursor.fetchone()
            if head is None:
                return None
            cursor.execute(_DUE_WITH_IT, at | head | {"limit": limit})
            alerts = tuple(Claimed(row["dedup_key"], row["payload"]) for row in cursor.fetchall())
            if not alerts:
                return None
            keys = [alert.dedup_key for alert in alerts]
            name = head["batch"] or _name_of(keys)
            cursor.execute(
                "UPDATE alert_outbox SET attempts = attempts + 1, batch = %(name)s, claim = %(claim)s,"
                " claimed_until = clock_timestamp() + %(lease)s WHERE dedup_key = ANY (%(keys)s)",
                at | {"name": name, "keys": keys},
            )
        return Batch(name, claim, head["kind"], head["market"], head["session"], alerts)

    def renew(self, batch: Batch, keys: Sequence[str], *, lease: timedelta = LEASE) -> bool:
        """Make the claim on these alerts last from now; False where it ended and somebody else may have them."""
        renewed = self._change(
            "UPDATE alert_outbox SET claimed_until = clock_timestamp() + %(lease)s"
            " WHERE claim = %(claim)s AND dedup_key = ANY (%(keys)s) AND sent_at IS NULL AND given_up_at IS NULL"
            " AND claimed_until >= clock_timestamp()",
            {"claim": batch.claim, "keys": list(keys), "lease": lease},
        )
        return renewed == len(keys)

    # --- how it ended -------------------------------------------------------------------------------------------------

    def sent(self, keys: Sequence[str], now: datetime, message_id: str | None, remark: str | None = None) -> None:
        """Strike off what was sent, whoever holds the claim by now.

        remark: what went wrong all the same, such as a recipient that was refused.
        """
        self._change(
            "UPDATE alert_outbox SET sent_at = %(now)s, given_up_at = NULL, message_id = %(message_id)s,"
            " last_error = %(remark)s, claim = NULL, claimed_until = NULL"
            " WHERE dedup_key = ANY (%(keys)s) AND sent_at IS NULL",
            {"keys": list(keys), "now": aware(now), "message_id": message_id, "remark": remark},
        )

    def postpone(
        self, batch: Batch, keys: Sequence[str], now: datetime, error: str, wait: timedelta | None = None
    ) -> datetime | None:
        """Give the alerts back to be tried again, no sooner than after `wait`; when, None where that was the last.

        Waits double with the attempts made. After `ATTEMPTS` the alerts are given up with the error as reason.
        """
        at = {
            "claim": batch.claim, "keys": list(keys), "now": aware(now), "error": error, "attempts": ATTEMPTS,
            "first": FIRST_WAIT, "longest": LONGEST_WAIT, "wait": wait or timedelta(0),
        }  # fmt: skip
        with connect(self._database.url) as connection:
            row = connection.execute(
                "UPDATE alert_outbox SET last_error = %(error)s, claim = NULL, claimed_until = NULL,"
                " given_up_at = CASE WHEN attempts >= %(attempts)s THEN %(now)s END,"
                " next_attempt_at = %(now)s + greatest(%(wait)s::interval, least(%(longest)s::interval,"
                " %(first)s::interval * power(2, attempts - 1)))"
                " WHERE claim = %(claim)s AND dedup_key = ANY (%(keys)s) AND sent_at IS NULL AND given_up_at IS NULL"
                " RETURNING CASE WHEN given_up_at IS NULL THEN next_attempt_at END",
                at,
            ).fetchone()
        return row[0] if row else None

    def release(self, batch: Batch, keys: Sequence[str]) -> None:
        """Give back alerts that were claimed and not tried."""
        self._change(
            "UPDATE alert_outbox SET attempts = attempts - 1, claim = NULL, claimed_until = NULL"
            " WHERE claim = %(claim)s AND dedup_key = ANY (%(keys)s) AND sent_at IS NULL AND given_up_at IS NULL",
            {"claim": batch.claim, "keys": list(keys)},
        )

    def hold(self, channel: str, until: datetime) -> None:
        """Try nothing on the channel before `until`: the service asks for a pause."""
        self._change(
            "UPDATE alert_outbox SET next_attempt_at = greatest(next_attempt_at, %(until)s)"
            " WHERE channel = %(channel)s AND sent_at IS NULL AND given_up_at IS NULL",
            {"channel": channel, "until": aware(until)},
        )

    def give_up(self, batch: Batch, keys: Sequence[str], now: datetime, error: str) -> None:
        """End the alerts for good, with the reason."""
        self._change(
            "UPDATE alert_outbox SET given_up_at = %(now)s, last_error = %(error)s, claim = NULL, claimed_until = NULL"
            " WHERE claim = %(claim)s AND dedup_key = ANY (%(keys)s) AND sent_at IS NULL AND given_up_at IS NULL",
            {"claim": batch.claim, "keys": list(keys), "now": aware(now), "error": error},
        )

    # --- addresses that are closed ------------------------------------------------------------------------------------

    def close_address(self, channel: str, address: str, now: datetime, reason: str) -> None:
        """Send nothing more to that address of the channel, and give up what waits for it.

        address: what tells it from others without telling what it is (`fingerprint`).
        """
        at = {"channel": channel, "address": address, "now": aware(now), "reason": reason}
        with connect(self._database.url) as connection:
            connection.execute(
                "INSERT INTO alert_addresses_closed (channel, address, closed_at, reason)"
                " VALUES (%(channel)s, %(address)s, %(now)s, %(reason)s) ON CONFLICT DO NOTHING",
                at,
            )
            connection.execute(
                "UPDATE alert_outbox SET given_up_at = %(now)s, last_error = %(reason)s, claim = NULL,"
                " claimed_until = NULL WHERE channel = %(channel)s AND sent_at IS NULL AND given_up_at IS NULL",
                at,
            )

    def closed(self, channel: str, address: str) -> str | None:
        """Why nothing is sent to that address any more; None where it is open."""
        with connect(self._database.url) as connection:
            row = connection.execute(
                "SELECT reason FROM alert_addresses_closed WHERE channel = %s AND address = %s", [channel, address]
            ).fetchone()
        return str(row[0]) if row else None

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, channel: str) -> Iterator[psycopg.Cursor[dict[str, Any]]]:
        """A transaction in which nobody else makes batches of the channel: two would tear one batch apart."""
        with connect(self._database.url) as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(f"alert_outbox/{channel}")])
            yield cursor

    def _end_the_hopeless(self, cursor: psycopg.Cursor[dict[str, Any]], at: dict[str, Any]) -> None:
        cursor.execute(
            "UPDATE alert_outbox SET given_up_at = %(now)s, claim = NULL, claimed_until = NULL,"
            " last_error = concat_ws('; ', CASE WHEN attempts >= %(attempts)s THEN %(died)s ELSE %(expired)s END,"
            " last_error)"
            " WHERE channel = %(channel)s AND sent_at IS NULL AND given_up_at IS NULL"
            " AND (claimed_until IS NULL OR claimed_until < clock_timestamp())"
            " AND (attempts >= %(attempts)s OR expires_at <= %(now)s)",
            at | {"died": DIED, "expired": EXPIRED},
        )

    def _change(self, statement: str, values: dict[str, Any]) -> int:
        with connect(self._database.url) as connection:
            return connection.execute(statement.encode(), values).rowcount


def fingerprint(*parts: str) -> str:
    """Tells one address with its credentials from another, and neither of them to anybody."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _name_of(keys: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(keys)).encode(), digest_size=16).hexdigest()
