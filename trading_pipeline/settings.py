"""Every knob, typed and documented, read once from the environment or `.env`.

What does not belong here: facts of a market (`markets.py`) and constants of a formula (beside the formula). Secrets are
`SecretStr`: they print as stars everywhere.

`.env` is the clone's own, and a relative path is relative to the clone, whichever folder a command is typed in: the
command line, the UI's processes and `dagster dev` then mean the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from trading_pipeline.errors import SettingsError
from trading_pipeline.markets import MARKETS

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of the clone."""

ProviderName = Literal["simulated", "yahoo", "tiingo", "files"]
World = Literal["simulated", "real"]
REAL_MONEY = "yes, trade with real money"


class Settings(BaseSettings):
    """The project's settings. Environment variables have the same names in capitals."""

    model_config = SettingsConfigDict(
        env_file=PROJECT / ".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
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
    watchlist_file: Path = Field(
        PROJECT / "watchlist.txt", description="Tickers you follow, one a line; # starts a comment."
    )
    inbox_url: str | None = Field(
        None, description="Folder or s3:// prefix watched for dropped files. Default: a folder in STATE_DIR."
    )

    state_dir: Path = Field(
        PROJECT / ".state", description="Folder of the embedded server, the lake and Dagster's home."
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql://… of a managed server; unset: the embedded one is started on demand."
    )
    lake_url: str | None = Field(
        None, description="Folder, file:// or s3:// root of the lake. Default: a folder in STATE_DIR."
    )
    aws_endpoint_url: str | None = Field(None, description="Endpoint of an S3-compatible store; unset: AWS.")
    aws_access_key_id: SecretStr | None = Field(None, description="S3 key; unset: the machine's role.")
    aws_secret_access_key: SecretStr | None = Field(None, description="S3 secret; unset: the machine's role.")
    aws_region: str = Field("us-east-1", description="Region of the lake's bucket.")

    tiingo_api_key: SecretStr | None = Field(None, description="Key of api.tiingo.com, needed by the tiingo provider.")
    finnhub_api_key: SecretStr | None = Field(
        None, description="Key of finnhub.io: the earnings calendar's first voice."
    )
    api_ninjas_key: SecretStr | None = Field(None, description="Key of api-ninjas.com: the earnings calendar's backup.")
    alpha_vantage_api_key: SecretStr | None = Field(None, description="Key of alphavantage.co: news with a sentiment.")
    news_feeds: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses of RSS or Atom feeds, comma-separated; {ticker} in one stands for each ticker."
    )
    fundamentals_files: Path | None = Field(
        None, description="Dated snapshots of fundamentals for the files provider: a Parquet or CSV file, or a folder."
    )

    intraday_provider: Literal["none", "yahoo", "alpaca", "files"] | None = Field(
        None,
        description="Where intraday bars come from: yahoo, alpaca, files or none. Default: the market_data_provider "
        "where it has them (simulated, yahoo), none otherwise.",
    )
    intraday_files: Path | None = Field(
        None, description="A Parquet or CSV file of 1- or 5-minute bars, or a folder of them, for the files provider."
    )
    live_universe: str = Field(
        "DIP_DESK",
        description="Whose names are prepared and traded: DIP_DESK (the dip desk's), WATCHLIST, or a universe.",
    )
    live_tick_seconds: int = Field(60, ge=1, le=900, description="Seconds between two ticks of the live session.")
    live_stale_seconds: int = Field(
        90, ge=5, le=3600, description="Age of the newest bar from which on no new entry is made."
    )
    live_log_days: int = Field(30, ge=1, le=3650, description="Days that the state of every symbol and tick is kept.")
    live_validation: Literal["off", "claude"] = Field(
        "off", description="Whether Claude is asked about each signal; it may veto one, never make one."
    )
    broker: Literal["simulated", "alpaca"] = Field("simulated", description="Who executes the orders, on paper.")
    alpaca_api_key: SecretStr | None = Field(None, description="Key of Alpaca: market data and the paper account.")
    alpaca_secret_key: SecretStr | None = Field(None, description="Secret of that key.")
    alpaca_trading_url: str = Field("https://paper-api.alpaca.markets", description="Endpoint of the broker.")
    alpaca_data_url: str = Field("https://data.alpaca.markets", description="Endpoint of the market data.")
    alpaca_feed: Literal["iex", "sip", "delayed_sip"] = Field(
        "iex", description="Alpaca's feed: iex is in every plan; sip has all exchanges, and needs a paid one."
    )
    real_money: str = Field(
        "no", description=f"Orders go to paper accounts alone unless this says, in words: {REAL_MONEY}"
    )
    trading_halted: bool = Field(
        False, description="The kill switch: no new entries, and those that wait are cancelled."
    )

    dip_desk_universe: str = Field(
        "TOO_BIG_TO_FAIL",
        description="Whose dips are analysed: TOO_BIG_TO_FAIL (mega-caps, 50 largest, watchlist), a universe, or ALL.",
    )
    dip_desk_time: Literal["close", "09:30"] = Field(
        "close",
        description="When new dips are posted: after the close, or at 09:30 exchange time before the next session.",
    )
    portfolio_value: float = Field(
        100_000, gt=0, description="Value of the portfolio that sizes are computed for, in the market's currency."
    )
    anthropic_api_key: SecretStr | None = Field(
        None,
        description="Key of Claude: words of dip desk and bias, the live market's analysis, vetoes; unset: the rules'.",
    )
    anthropic_base_url: str | None = Field(None, description="Endpoint of the Claude API; unset: Anthropic's own.")
    claude_screen_model: str = Field(
        "claude-haiku-5-5", description="Model that words the dips the rules do not buy, and the premarket bias."
    )
    claude_finalist_model: str = Field(
        "claude-sonnet-5-5",
        description="Model that words the dips the rules would buy, analyses the live market and vetoes signals.",
    )
    claude_fallback_model: str = Field("claude-haiku-5-5", description="Model asked when the first refuses or is busy.")
    claude_daily_budget: float = Field(
        1.0, ge=0, description="US dollars a day (UTC) that Claude may cost; past it the rules stand alone."
    )

    discord_webhook_url: SecretStr | None = Field(None, description="Discord webhook that new dips are posted to.")
    smtp_host: str | None = Field(None, description="SMTP server that new dips are mailed by; unset: no e-mail.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Port of the SMTP server.")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is secured.")
    smtp_user: str | None = Field(None, description="User of the SMTP server; unset: no login.")
    smtp_password: SecretStr | None = Field(None, description="Password of the SMTP user.")
    alert_email_from: str | None = Field(None, description="Sender of the alerts; needed with SMTP_HOST.")
    alert_email_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Recipients of the alerts, comma-separated; needed with SMTP_HOST."
    )
    backtests_dir: Path | None = Field(
        None,
        description="Folder of your own backtest configurations, TOML files. Default: a folder backtests in STATE_DIR.",
    )
    tearsheet_count: int = Field(
        20,
        ge=0,
        le=500,
        description="How many leaders get a tearsheet, beside every dip on the desk and the watchlist.",
    )

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

    @field_validator("news_feeds", "alert_email_to", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("dip_thresholds")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)) or not all(0 < item < 100 for item in value):
            raise ValueError("give ascending percentages between 0 and 100")
        return value

    @field_validator(
        "market_data_files", "fundamentals_files", "intraday_files", "watchlist_file", "backtests_dir", "state_dir"
    )
    @classmethod
    def _in_the_clone(cls, value: Path | None) -> Path | None:
        return None if value is None else _absolute(value)

    @field_validator("lake_url", "inbox_url")
    @classmethod
    def _folder_or_bucket(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator:
            return f"file://{_absolute(Path(value))}"
        if (scheme == "file" and rest.startswith("/")) or (scheme == "s3" and rest.strip("/")):
            return value.rstrip("/")
        raise ValueError("give a folder, file:///… or s3://bucket/…")

    @field_validator("discord_webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        """The address is a password: what is wrong with it is said without it."""
        if value is not None and not _is_address(value.get_secret_value()):
            raise ValueError(
                "give the whole address of a webhook, https://discord.com/api/webhooks/…, as the channel's settings "
                "under Integrations show it"
            )
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.market_data_provider == "files" and self.market_data_files is None:
            raise ValueError("MARKET_DATA_PROVIDER=files needs MARKET_DATA_FILES, a Parquet or CSV file or a folder")
        if self.market_data_provider == "tiingo" and self.tiingo_api_key is None:
            raise ValueError("MARKET_DATA_PROVIDER=tiingo needs TIINGO_API_KEY; get one at tiingo.com")
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; set both or neither")
        if self.smtp_host is not None and not (self.alert_email_from and self.alert_email_to):
            raise ValueError("SMTP_HOST needs ALERT_EMAIL_FROM and ALERT_EMAIL_TO; set them, or unset SMTP_HOST")
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("SMTP_USER and SMTP_PASSWORD go together; set both or neither")
        if self.intraday_provider == "files" and self.intraday_files is None:
            raise ValueError("INTRADAY_PROVIDER=files needs INTRADAY_FILES, a Parquet or CSV file or a folder")
        if self.intraday_provider is not None and self.market_data_provider == "simulated":
            raise ValueError("INTRADAY_PROVIDER is for real markets; the simulated one tells its own minutes: unset it")
        if (self.alpaca_api_key is None) != (self.alpaca_secret_key is None):
            raise ValueError("ALPACA_API_KEY and ALPACA_SECRET_KEY go together; set both or neither")
        if "alpaca" in (self.intraday_provider, self.broker) and self.alpaca_api_key is None:
            raise ValueError("INTRADAY_PROVIDER=alpaca and BROKER=alpaca need ALPACA_API_KEY and ALPACA_SECRET_KEY")
        if self.broker == "alpaca" and self.market_data_provider == "simulated":
            raise ValueError("BROKER=alpaca needs a real market; the simulated one has fictional tickers")
        if self.real_money not in ("no", REAL_MONEY):
            raise ValueError(f"REAL_MONEY is no, or in words: {REAL_MONEY}")
        if self.broker == "alpaca" and self.real_money == "no" and not self._paper_account:
            raise ValueError(
                f"ALPACA_TRADING_URL={self.alpaca_trading_url} is not a paper account's; use "
                f"https://paper-api.alpaca.markets, or say REAL_MONEY={REAL_MONEY}"
            )
        if self.decision_sessions > self.history_sessions:
            raise ValueError(
                f"DECISION_SESSIONS={self.decision_sessions} is more than HISTORY_SESSIONS={self.history_sessions}; "
                "decisions need the bars before them too"
            )
        return self

    @property
    def _paper_account(self) -> bool:
        """Whether orders go to a paper account: Alpaca's paper host, or a server on this machine."""
        key = self.alpaca_api_key.get_secret_value() if self.alpaca_api_key else ""
        host = urlsplit(self.alpaca_trading_url).hostname
        return host in ("paper-api.alpaca.markets", "127.0.0.1", "localhost") and not key.startswith("AK")

    @property
    def intraday(self) -> Literal["none", "simulated", "yahoo", "alpaca", "files"]:
        """Where intraday bars come from."""
        if self.intraday_provider is not None:
            return self.intraday_provider
        own = self.market_data_provider
        return own if own == "simulated" or own == "yahoo" else "none"  # noqa: PLR1714 - mypy narrows this form alone

    @property
    def halt_file(self) -> Path:
        """A file of this name halts trading for as long as it is there."""
        return self.world_dir / "HALT"

    @property
    def world(self) -> World:
        """`simulated` or `real`: fictional tickers never share a table or a green partition with real ones."""
        return "simulated" if self.market_data_provider == "simulated" else "real"

    @property
    def world_dir(self) -> Path:
        """The folder this world owns inside STATE_DIR."""
        return self.state_dir / self.world

    @property
    def backtests(self) -> Path:
        """The folder of the user's own backtest configurations."""
        return self.backtests_dir or self.state_dir / "backtests"

    @property
    def dagster_home(self) -> Path:
        """This world's Dagster home."""
        return self.world_dir / "dagster_home"

    @property
    def lake_root(self) -> str:
        """This world's lake root, `file://…` or `s3://…`, without a trailing slash."""
        base = self.lake_url or f"file://{self.state_dir / 'lake'}"
        return f"{base}/{self.world}"

    @property
    def inbox(self) -> str:
        """Where dropped files are picked up, `file://…` or `s3://…`."""
        return self.inbox_url or f"file://{self.world_dir / 'inbox'}"

    def masked(self, text: str) -> str:
        """`text` with every secret of these settings replaced by stars."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> list[str]:
        """The longest first, so that none leaves a part of another standing."""
        whole = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        login = self.database_url.get_secret_value().rpartition("@")[0] if self.database_url else ""
        password = login.partition("://")[2].partition(":")[2]
        return sorted({*whole, password, unquote(password)} - {""}, key=len, reverse=True)


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, `.env` and `overrides`; `SettingsError` names every bad value in one line."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(_fault(item["loc"], item["msg"]) for item in error.errors(include_input=False))
        raise SettingsError(
            f"The settings cannot be used ({faults})", "Mend them in the environment or in .env; see .env.example"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{PROJECT / '.env'} cannot be read ({error})", "Make it a readable UTF-8 text file, see .env.example"
        ) from None


def _fault(place: tuple[int | str, ...], message: str) -> str:
    said = message.removeprefix("Value error, ")
    return f"{str(place[0]).upper()}: {said}" if place else said


def _is_address(text: str) -> bool:
    """Whether it is one http address with a host and a path."""
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host and parts.path.strip("/")) and text.split() == [text]


def _absolute(path: Path) -> Path:
    return PROJECT / path.expanduser()
