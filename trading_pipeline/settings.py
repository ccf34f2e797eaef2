"""Every knob, typed and documented, read once from the environment or `.env`.

What does not belong here: facts of a market (`markets.py`) and constants of a formula (beside the formula). Secrets are
`SecretStr`: they print as stars everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from trading_pipeline.errors import SettingsError
from trading_pipeline.markets import MARKETS

ProviderName = Literal["simulated", "yahoo", "tiingo", "files"]
World = Literal["simulated", "real"]


class Settings(BaseSettings):
    """The project's settings. Environment variables have the same names in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    market_data_provider: ProviderName = Field(
        "simulated", description="Where daily bars come from: simulated, yahoo, tiingo or files."
    )
    market_data_files: Path | None = Field(
        None, description="A Parquet or CSV file, or a folder of them, read by the files provider."
    )
    markets: Annotated[tuple[str, ...], NoDecode] = Field(("us",), description="Markets to run, comma-separated.")
    history_sessions: int = Field(
        560, ge=30, le=6000, description="How many sessions of bars a first run fetches, the lookbacks included."
    )
    decision_sessions: int = Field(
        5, ge=1, le=6000, description="How many latest sessions `run` publishes decisions for."
    )
    dip_thresholds: Annotated[tuple[float, ...], NoDecode] = Field(
        (5.0, 10.0, 15.0), description="Per cent below the 52-week high that make a dip, ascending, comma-separated."
    )
    coverage_threshold: float = Field(
        0.8, ge=0, le=1, description="Share of the tickers asked that must answer for a fetch to succeed."
    )
    watchlist_file: Path = Field(Path("watchlist.txt"), description="Tickers you follow, one a line; # starts a comment.")
    inbox_url: str | None = Field(None, description="Folder or s3:// prefix watched for dropped files. Default: STATE_DIR.")

    state_dir: Path = Field(Path(".state"), description="Folder of the embedded server, the lake and Dagster's home.")
    database_url: SecretStr | None = Field(
        None, description="postgresql://… of a managed server; unset: the embedded one is started on demand."
    )
    lake_url: str | None = Field(None, description="file:// or s3:// root of the lake. Default: a folder in STATE_DIR.")
    aws_endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible store; unset: AWS.")
    aws_access_key_id: SecretStr | None = Field(None, description="S3 key; unset: the machine's role.")
    aws_secret_access_key: SecretStr | None = Field(None, description="S3 secret; unset: the machine's role.")
    aws_region: str = Field("us-east-1", description="Region of the lake's bucket.")

    tiingo_api_key: SecretStr | None = Field(None, description="Key of api.tiingo.com, needed by the tiingo provider.")
    webserver_host: str = Field("127.0.0.1", description="Address the UI binds to.")
    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of the UI.")

    simulated_seed: int = Field(20160314, description="Seed of the simulated market.")
    simulated_tickers: int = Field(120, ge=20, le=2000, description="How many companies the simulated market lists.")

    @field_validator("markets", mode="before")
    @classmethod
    def _split_markets(cls, value: object) -> object:
        names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
        if isinstance(names, tuple | list):
            unknown = [name for name in names if name not in MARKETS]
            if unknown or not names:
                raise ValueError(f"unknown market {', '.join(unknown) or '(none given)'}; known: {', '.join(MARKETS)}")
        return names

    @field_validator("dip_thresholds", mode="before")
    @classmethod
    def _split_thresholds(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("dip_thresholds")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)) or not all(0 < item < 100 for item in value):
            raise ValueError("give ascending percentages between 0 and 100")
        return value

    @field_validator("market_data_files", "database_url", "lake_url", "inbox_url", "tiingo_api_key", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _provider_has_what_it_needs(self) -> Settings:
        if self.market_data_provider == "files" and self.market_data_files is None:
            raise ValueError("MARKET_DATA_PROVIDER=files needs MARKET_DATA_FILES, a Parquet or CSV file or a folder")
        if self.market_data_provider == "tiingo" and self.tiingo_api_key is None:
            raise ValueError("MARKET_DATA_PROVIDER=tiingo needs TIINGO_API_KEY; get one at tiingo.com")
        return self

    @property
    def world(self) -> World:
        """`simulated` or `real`: fictional tickers never share a table or a green partition with real ones."""
        return "simulated" if self.market_data_provider == "simulated" else "real"

    @property
    def world_dir(self) -> Path:
        """The folder this world owns inside STATE_DIR, absolute."""
        return (self.state_dir / self.world).absolute()

    @property
    def dagster_home(self) -> Path:
        """This world's Dagster home."""
        return self.world_dir / "dagster_home"

    @property
    def lake_root(self) -> str:
        """This world's lake root, `file://…` or `s3://…`, without a trailing slash."""
        base = self.lake_url or f"file://{self.state_dir.absolute() / 'lake'}"
        return f"{base.rstrip('/')}/{self.world}"

    @property
    def inbox(self) -> str:
        """Where dropped files are picked up, `file://…` or `s3://…`."""
        return (self.inbox_url or f"file://{self.world_dir / 'inbox'}").rstrip("/")


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, `.env` and `overrides`; `SettingsError` names every bad value in one line."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']).upper() or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(
            f"The settings cannot be used ({faults})", "Mend them in the environment or in .env; see .env.example"
        ) from None
