"""How a broker can fail: one class per kind, so that the loop can tell what to try again and when to stop trading.

What belongs here: failures that nobody decided. An order that a broker refuses is no failure; it is told as rejected.
"""

from __future__ import annotations

from typing import ClassVar

from trading_pipeline.errors import TradingPipelineError


class BrokerError(TradingPipelineError):
    """A broker did not do what was asked. Raised through its subclasses.

    transient: the same call may succeed at the next tick; orders stay pending until then.
    """

    transient: ClassVar[bool] = False
    usual_remedy: ClassVar[str] = "See the broker's status page"

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        super().__init__(problem, remedy or self.usual_remedy)


class BrokerBusy(BrokerError):
    """The broker asks for fewer requests (HTTP 429), more often than it was waited for."""

    transient = True
    usual_remedy = "Nothing is lost: the next tick asks again; use a longer LIVE_TICK_SECONDS if it happens often"


class BrokerUnreachable(BrokerError):
    """The broker cannot be reached, timed out, or answered with a server error: what was asked may have been done."""

    transient = True
    usual_remedy = "Nothing is doubled: the next tick asks again under the same order ids; check its status page"


class BrokerAnswerUnreadable(BrokerError):
    """The answer does not look as documented: a field is gone, mistyped, or has a value nobody knows."""

    usual_remedy = "The broker changed its format: update the adapter, and look at the account before trading on"


class BrokerAccessRefused(BrokerError):
    """The key is missing, wrong or not allowed to do this (HTTP 401, 403)."""

    usual_remedy = "Check ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment or .env"


class AccountBlocked(BrokerError):
    """The account may not trade."""

    usual_remedy = "Look at the account on the broker's dashboard; it says what is missing"


class RealMoneyRefused(BrokerError):
    """The key, the address or the account is one of real money, and no setting says that this is wanted."""


class OrderUnplaceable(BrokerError):
    """Orders that belong to no bracket a broker can work, or whose id stands for another order there."""

    usual_remedy = "Decide it anew as an entry with at most one stop and one target, under an id of its own"


class ProtectionMissing(BrokerError):
    """Shares are held without a stop, and the broker refuses to place one."""

    usual_remedy = "Place a stop or close the position on the broker's dashboard, then start again"


class NotReconciled(BrokerError):
    """What the broker has and what we have differ in a way that only a person can mend."""

    usual_remedy = "Bring the account and the ledger together (close or cancel on the dashboard), then start again"
