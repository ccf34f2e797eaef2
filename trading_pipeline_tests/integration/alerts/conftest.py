"""Real servers that alerts are sent to, and the outbox they come from."""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trading_pipeline.storage.outbox import Outbox
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline_tests.dip_alerts import DiscordServer, Mailbox, Running, discord_server


@pytest.fixture
def discord() -> Iterator[DiscordServer]:
    with discord_server() as server:
        yield server


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def serve(box: Mailbox) -> Iterator[Callable[..., int]]:
    """Starts a mail server that fills the box."""
    running: list[Running] = []

    def start(**how: Any) -> int:
        server = Running(box, **how)
        server.start()
        running.append(server)
        return server.port

    yield start
    for server in running:
        server.stop(no_assert=True)


@pytest.fixture
def sender() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that sends what is due; what is still alive at the end is killed."""
    children: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def outbox(warehouse: Warehouse) -> Outbox:
    return Outbox(warehouse)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every log record of every library, whatever its level."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "mail.log"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    whole = folder / "whole.pem"
    whole.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return whole


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's context that trusts the servers of these tests and nobody else."""
    return ssl.create_default_context(cafile=str(certificate))
