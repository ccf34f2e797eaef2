"""An Alpaca on this machine, and a broker that trades there and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from trading_pipeline.brokers.alpaca import AlpacaBroker, Patience
from trading_pipeline_tests.alpaca import KEY, SECRET, AlpacaServer
from trading_pipeline_tests.orders import Ledger


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with AlpacaServer().running() as running:
        yield running


@dataclass
class Waits:
    """Where the seconds go that a broker would have slept."""

    slept: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def broker(server: AlpacaServer, waits: Waits) -> Callable[..., AlpacaBroker]:
    def make(
        key: str = KEY, secret: str = SECRET, url: str = server.url, real_money: str = "no", **patience: Any
    ) -> AlpacaBroker:
        return AlpacaBroker(
            SecretStr(key),
            SecretStr(secret),
            url,
            real_money=real_money,
            patience=Patience(**({"sleep": waits, "connect": 2.0, "read": 2.0} | patience)),
        )

    return make


@pytest.fixture
def ledger(broker: Callable[..., AlpacaBroker]) -> Ledger:
    return Ledger(broker())
