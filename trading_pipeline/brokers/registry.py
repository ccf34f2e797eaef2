"""Which broker the settings name.

What belongs here: choosing. There is no fallback: a broker that fails, fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading_pipeline.brokers.base import Broker
from trading_pipeline.brokers.ticks import TICKS, US_TICKS
from trading_pipeline.errors import SettingsError
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline.brokers.alpaca import Patience
    from trading_pipeline.brokers.simulated import Costs


def broker_named(
    settings: Settings,
    *,
    market: str = "us",
    costs: Costs | None = None,
    patience: Patience | None = None,
    replay: bool = False,
) -> Broker:
    """The broker of `settings.broker`; nothing is asked or opened yet.

    market: whose price steps the simulated broker rounds to. costs: of the simulated one. patience: of Alpaca's.
    replay: recorded sessions are always filled by the simulated broker.

    `SettingsError` where a setting is missing or the market is none that Alpaca trades, `RealMoneyRefused` where key or
    address are not those of a paper account.
    """
    if settings.broker == "simulated" or replay:
        from trading_pipeline.brokers.simulated import SimulatedBroker

        return SimulatedBroker(costs, TICKS.get(market, US_TICKS))
    from trading_pipeline.brokers.alpaca import AlpacaBroker

    if market != "us":
        raise SettingsError(f"Alpaca does not trade on the market {market}", "Use BROKER=simulated for it")
    if settings.alpaca_api_key is None or settings.alpaca_secret_key is None:
        raise SettingsError("The alpaca broker needs a key", "Set ALPACA_API_KEY and ALPACA_SECRET_KEY")
    return AlpacaBroker(
        settings.alpaca_api_key,
        settings.alpaca_secret_key,
        settings.alpaca_trading_url,
        real_money=settings.real_money,
        patience=patience,
    )
