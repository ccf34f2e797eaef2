"""The day's budget of Alpha Vantage lives in the database: a new process finds what the one before it left."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from trading_pipeline.markets import US
from trading_pipeline.providers.alpha_vantage import DAILY, AlphaVantage
from trading_pipeline.providers.throttle import TokenBucket
from trading_pipeline.storage.rate_limits import PostgresThrottle

NOW = datetime(2025, 5, 7, 21, 0, tzinfo=UTC)


@pytest.fixture
def feed():
    """Address of an Alpha Vantage without news, and the requests it got."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"feed": []}')

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_what_one_process_spent_is_gone_for_the_next_and_refusals_cost_nothing(warehouse, feed):
    address, asked = feed

    def kinds_of_failure():
        """A new provider with throttles of its own, as after a restart."""
        daily = PostgresThrottle(warehouse, "alpha_vantage/day", DAILY.rate_per_second, 3)
        provider = AlphaVantage(SecretStr("key"), base_url=address, throttle=TokenBucket(1000, 1000), daily=daily)
        batch = provider.news(US, ["AAA"], NOW - timedelta(days=1), NOW, now=NOW)
        return [failure.error.kind for failure in batch.failures]

    assert [kinds_of_failure() for _ in range(6)] == [[], [], [], *[["rate_limited"]] * 3]
    assert len(asked) == 3
    # The three refusals gave their tokens back: what is owed is less than one request.
    left = PostgresThrottle(warehouse, "alpha_vantage/day", DAILY.rate_per_second, 3).reserve(1.0)
    assert left <= 1 / DAILY.rate_per_second
