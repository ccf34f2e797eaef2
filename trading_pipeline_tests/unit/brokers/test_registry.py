"""The broker that the settings name."""

from __future__ import annotations

import pytest

from trading_pipeline.brokers.alpaca import AlpacaBroker
from trading_pipeline.brokers.errors import RealMoneyRefused
from trading_pipeline.brokers.registry import broker_named
from trading_pipeline.brokers.simulated import Costs, SimulatedBroker
from trading_pipeline.errors import SettingsError
from trading_pipeline.settings import REAL_MONEY, Settings

ALPACA = {
    "broker": "alpaca",
    "market_data_provider": "yahoo",
    "alpaca_api_key": "PKTEST",
    "alpaca_secret_key": "a-secret",
}


def test_simulated_unless_said_otherwise():
    broker = broker_named(Settings(), costs=Costs(fee_least=0))
    assert isinstance(broker, SimulatedBroker) and broker.name == "simulated" and broker.on_paper


def test_alpaca_on_paper():
    broker = broker_named(Settings(**ALPACA))
    assert isinstance(broker, AlpacaBroker) and broker.name == "alpaca" and broker.on_paper
    assert "PKTEST" not in repr(broker) and "a-secret" not in repr(broker)


def test_a_replay_never_reaches_a_broker_outside():
    assert isinstance(broker_named(Settings(**ALPACA), replay=True), SimulatedBroker)


def test_alpaca_trades_the_us_alone():
    with pytest.raises(SettingsError, match="asx"):
        broker_named(Settings(**ALPACA), market="asx")


def test_the_broker_looks_again_at_what_the_settings_let_pass():
    passed = Settings(**ALPACA, real_money=REAL_MONEY, alpaca_trading_url="https://api.alpaca.markets")
    assert not broker_named(passed).on_paper
    with pytest.raises(RealMoneyRefused):
        broker_named(passed.model_copy(update={"real_money": "no"}))
    without = passed.model_copy(update={"alpaca_api_key": None})
    with pytest.raises(SettingsError, match="ALPACA_API_KEY"):
        broker_named(without)
