"""Frames and processes that the storage tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.settings import Settings
from trading_pipeline.storage.lake import Lake
from trading_pipeline.storage.server import stop_server
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables import DAILY_BARS, DIP_OPPORTUNITIES, MARKET_DATA, MARKET_REGIME, MOMENT

KNOWN_AT = datetime(2024, 1, 31, 22, tzinfo=UTC)
MONDAY = date(2024, 1, 8)
WEEK = [date(2024, 1, day) for day in (8, 9, 10, 11, 12)]


def bars_of(sessions: Sequence[date], tickers: Sequence[str] = ("AAA", "BBB"), close: float = 10.0) -> pl.DataFrame:
    """Rows of `daily_bars`: one a session and ticker, all equal but for the ticker's place."""
    rows = [
        (session, f"us:{ticker}", ticker, close + place) for session in sessions for place, ticker in enumerate(tickers)
    ]
    frame = pl.DataFrame(
        rows,
        schema={"session": pl.Date, "instrument_id": pl.String, "ticker": pl.String, "close": pl.Float64},
        orient="row",
    )
    return frame.with_columns(
        open="close",
        high=pl.col("close") + 1,
        low=pl.col("close") - 1,
        volume=pl.lit(1_000.0),
        currency=pl.lit("USD"),
        provider=pl.lit("files"),
        provisional=pl.lit(False),
        data_quality=pl.lit("good"),
        rules=pl.lit(""),
        available_at=pl.col("session").cast(MOMENT),
        known_at=pl.lit(KNOWN_AT, MOMENT),
        superseded_at=pl.lit(None, MOMENT),
    ).select(DAILY_BARS.names)


def dips_of(session: date, prices: dict[str, float]) -> pl.DataFrame:
    """Rows of `dip_opportunities` of one session: one a ticker, with its price."""
    schema = {"ticker": pl.String, "price": pl.Float64}
    frame = pl.DataFrame(list(prices.items()), schema=schema, orient="row").with_columns(
        session=pl.lit(session),
        instrument_id="us:" + pl.col("ticker"),
        universes=pl.lit("SPX500"),
        high_252=pl.col("price") * 2,
        dip_pct=pl.lit(50.0),
        threshold_pct=pl.lit(15.0),
        sessions_since_high=pl.lit(20, pl.Int32),
        data_quality=pl.lit("good"),
    )
    return _filled(frame, DIP_OPPORTUNITIES.schema)


def regime_of(session: date, score: int) -> pl.DataFrame:
    """One row of `market_regime`."""
    frame = pl.DataFrame(
        {
            "session": [session],
            "regime": "Bull",
            "environment": "A",
            "benchmark": "SPY",
            "volatility_source": "implied",
            "reasons": "the index is above its average",
        }
    ).with_columns(*(pl.lit(score, pl.Int32).alias(name) for name in ("score", "new_highs", "new_lows", "members")))
    return _filled(frame, MARKET_REGIME.schema)


def market_data_of(
    sessions: Sequence[date], tickers: Sequence[str] = ("AAA", "BBB"), close: float = 10.0
) -> pl.DataFrame:
    """Rows of `market_data`, adjusted by nothing."""
    return (
        bars_of(sessions, tickers, close)
        .with_columns(date="session", adjusted_close="close", source="provider", metadata=pl.lit(None, pl.String))
        .select(MARKET_DATA.names)
    )


def _filled(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(schema.names())


@pytest.fixture
def make_bars() -> Callable[..., pl.DataFrame]:
    return bars_of


@pytest.fixture
def make_dips() -> Callable[..., pl.DataFrame]:
    return dips_of


@pytest.fixture
def make_regime() -> Callable[..., pl.DataFrame]:
    return regime_of


@pytest.fixture
def make_market_data() -> Callable[..., pl.DataFrame]:
    return market_data_of


@pytest.fixture
def week() -> list[date]:
    """Monday to Friday."""
    return WEEK


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state folder whose server is stopped and removed after the test."""
    folder = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "state"
    _remove(folder)


def _remove(folder: Path) -> None:
    for lock in folder.rglob("postgres.lock"):
        stop_server(Settings(state_dir=lock.parent, _env_file=None))
        shutil.rmtree((lock.parent / "postgres").resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python process on a script with arguments; what is still alive at the end is killed."""
    children: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *(str(argument) for argument in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 endpoint over real HTTP on the loopback interface."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_settings_of(endpoint: str, bucket: str, **more: object) -> Settings:
    return Settings(
        lake_url=f"s3://{bucket}/lake",
        aws_endpoint_url=endpoint,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="very-secret-key",
        _env_file=None,
        **more,
    )


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    import boto3

    name = f"lake-{uuid.uuid4().hex[:8]}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="very-secret-key",
    )
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_settings() -> Callable[..., Settings]:
    """Settings of a lake in a bucket at an endpoint."""
    return s3_settings_of


@pytest.fixture(params=["folder", "s3"])
def any_lake(request: pytest.FixtureRequest, warehouse: Warehouse, tmp_path: Path) -> Lake:
    """An empty lake: once in a folder (with a space in its name), once in a bucket."""
    if request.param == "folder":
        return Lake.of(Settings(state_dir=tmp_path / "with space", _env_file=None), warehouse)
    endpoint, name = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("bucket")
    return Lake.of(s3_settings_of(endpoint, name), warehouse)
