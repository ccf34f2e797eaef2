"""What a call without an answer counts as: nothing where it was not sent, the most it can cost where it was."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from trading_pipeline.analyst.client import Client
from trading_pipeline.analyst.market import MARKET
from trading_pipeline_tests.claude import KEY

MODEL, QUESTION = "claude-sonnet-5-5", MARKET.question("{}")


@pytest.fixture
def hangs_up() -> Iterator[str]:
    """The address of a server that reads a request and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    thread.join(5)


def asked(url: str):
    client = Client(SecretStr(KEY), url)
    try:
        return client.ask(MARKET, MODEL, QUESTION, 1.0)
    finally:
        client.close()


def test_a_question_that_was_not_sent_costs_nothing():
    reply = asked("http://127.0.0.1:9")
    assert (reply.outcome, reply.cost) == ("unreachable", 0.0)


def test_a_question_that_was_sent_and_not_answered_may_have_been_charged_for(hangs_up):
    reply = asked(hangs_up)
    assert (reply.outcome, reply.cost) == ("unreachable", MARKET.most_it_can_cost(MODEL, QUESTION))
    assert KEY not in repr(reply)
