"""Settings: what is read from where, and what is said of a bad value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from trading_pipeline.errors import SettingsError
from trading_pipeline.settings import PROJECT, Settings, load_settings

SECRET = "hunter2-s3cret"


def test_without_any_setting_the_simulated_market_runs_in_the_clone() -> None:
    settings = load_settings()
    assert (settings.market_data_provider, settings.world, settings.markets) == ("simulated", "simulated", ("us",))
    assert settings.dagster_home == PROJECT / ".state" / "simulated" / "dagster_home"
    assert settings.lake_root == f"file://{PROJECT}/.state/lake/simulated"
    assert settings.webserver_host == "127.0.0.1"


def test_a_first_run_fetches_what_the_longest_lookback_needs() -> None:
    from trading_pipeline.research import dips, indicators, regime
    from trading_pipeline.research.bars import quality

    settings = load_settings()
    longest = max(science.LOOKBACK for science in (dips, indicators, regime, quality))
    assert settings.history_sessions - settings.decision_sessions >= longest


def test_the_environment_is_read_and_blank_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETS", " us, asx")
    monkeypatch.setenv("DIP_THRESHOLDS", "7.5, 20")
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("COVERAGE_THRESHOLD", "")
    settings = load_settings()
    assert settings.markets == ("us", "asx")
    assert settings.dip_thresholds == (7.5, 20.0)
    assert settings.database_url is None
    assert settings.coverage_threshold == 0.8


def test_a_relative_path_means_the_same_in_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(state_dir="elsewhere", watchlist_file="~/mine.txt", lake_url="lake", inbox_url="drop/")
    assert settings.state_dir == PROJECT / "elsewhere"
    assert settings.watchlist_file == Path.home() / "mine.txt"
    assert settings.lake_root == f"file://{PROJECT}/lake/simulated"
    assert settings.inbox == f"file://{PROJECT}/drop"


def test_the_worlds_share_nothing() -> None:
    simulated = load_settings()
    real = load_settings(market_data_provider="yahoo")
    assert simulated.lake_root != real.lake_root
    assert simulated.dagster_home != real.dagster_home
    assert simulated.inbox != real.inbox


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MARKETS", "us,moon", r"MARKETS: unknown market moon; known: us, asx"),
        ("MARKETS", ",", r"MARKETS: unknown market"),
        ("MARKET_DATA_PROVIDER", "bloomberg", r"MARKET_DATA_PROVIDER: .*'simulated', 'yahoo', 'tiingo' or 'files'"),
        ("MARKET_DATA_PROVIDER", "tiingo", r"needs TIINGO_API_KEY"),
        ("MARKET_DATA_PROVIDER", "files", r"needs MARKET_DATA_FILES"),
        ("DIP_THRESHOLDS", "10,5", r"DIP_THRESHOLDS: give ascending percentages"),
        ("DIP_THRESHOLDS", "deep", r"DIP_THRESHOLDS: .*valid number"),
        ("COVERAGE_THRESHOLD", "80", r"COVERAGE_THRESHOLD: .*less than or equal to 1"),
        ("LAKE_URL", "gs://bucket/lake", r"LAKE_URL: give a folder, file:///… or s3://bucket"),
        ("LAKE_URL", "s3://", r"LAKE_URL: give a folder"),
        ("DECISION_SESSIONS", "600", r"DECISION_SESSIONS=600 is more than HISTORY_SESSIONS=560"),
        ("AWS_ACCESS_KEY_ID", "AKIA", r"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"),
        ("WEBSERVER_PORT", "http", r"WEBSERVER_PORT: .*valid integer"),
    ],
)
def test_a_bad_value_is_named_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Mend them in the environment or in .env; see .env.example.")


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETS", "moon")
    monkeypatch.setenv("WEBSERVER_PORT", "99999")
    with pytest.raises(SettingsError, match=r"MARKETS: .*; WEBSERVER_PORT: "):
        load_settings()


def test_an_env_file_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"MARKETS=\xff\xfe")
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        load_settings()


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://bob:{SECRET}@host/db")
    monkeypatch.setenv("TIINGO_API_KEY", SECRET)
    settings = load_settings()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    monkeypatch.setenv("WEBSERVER_PORT", "none")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        f"discord.com/api/webhooks/1/{SECRET}",
        f"ftp://discord.com/api/webhooks/1/{SECRET}",
        f"https:///api/webhooks/1/{SECRET}",
        f"https://[::1/{SECRET}",
        f"https://discord.com/api/webhooks/1/{SECRET} https://discord.com/api/webhooks/2/{SECRET}",
        "https://discord.com",
        SECRET,
    ],
)
def test_a_webhook_that_is_no_address_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", address)
    with pytest.raises(SettingsError, match="DISCORD_WEBHOOK_URL: give the whole address of a webhook") as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as raw:
        Settings()
    assert SECRET not in f"{raw.value} {raw.value!r}"


@pytest.mark.parametrize("address", [f"https://discord.com/api/webhooks/1/{SECRET}", f"http://127.0.0.1:8080/{SECRET}"])
def test_a_webhook_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", address)
    webhook = load_settings().discord_webhook_url
    assert webhook is not None and webhook.get_secret_value() == address


def test_secrets_are_masked_in_any_text() -> None:
    settings = load_settings(
        database_url="postgresql://bob:p%40ss-word@host/db", tiingo_api_key="k3y", aws_access_key_id="AKIA",
        aws_secret_access_key="AKIA-and-more",
    )  # fmt: skip
    said = "postgresql://bob:p%40ss-word@host/db p%40ss-word p@ss-word k3y AKIA-and-more AKIA bob"
    assert settings.masked(said) == "*** *** *** *** *** *** bob"


def test_the_example_names_every_setting_with_its_default() -> None:
    example = (PROJECT / ".env.example").read_text()
    shown = dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", example, re.MULTILINE))
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(f"{item:g}" if isinstance(item, float) else item for item in default)
        elif isinstance(default, Path):
            default = default.relative_to(PROJECT)
        assert shown[name.upper()] == ("" if default is None else str(default)), name
