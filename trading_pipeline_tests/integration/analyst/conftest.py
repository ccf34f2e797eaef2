"""The server, the ledger and the settings of the analyst's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from trading_pipeline.settings import Settings
from trading_pipeline.storage.model_calls import PostgresLedger
from trading_pipeline_tests.claude import KEY, Api


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


@pytest.fixture
def ledger(warehouse) -> PostgresLedger:
    return PostgresLedger(warehouse)


@pytest.fixture
def settings(api: Api, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Key and models set, the endpoint named as users name it for the SDK: in the environment."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
    return Settings(anthropic_api_key=SecretStr(KEY), anthropic_base_url=None, _env_file=None)
