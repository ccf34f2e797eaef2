"""Sites for the tests that run real jobs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trading_pipeline_tests.promises import Site

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer


@pytest.fixture(scope="module")
def new_site(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Site]:
    """Makes sites: each with a folder and databases of its own."""

    def make() -> Site:
        url = embedded_server.url(f"site_{uuid.uuid4().hex[:12]}").get_secret_value()
        return Site(Path(tmp_path_factory.mktemp("site")), url)

    return make
