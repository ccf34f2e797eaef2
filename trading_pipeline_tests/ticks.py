"""Ticks of sensors, the runs they ask for, and providers that say something else: for the tests of the automation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from trading_pipeline.definitions import build_definitions
from trading_pipeline.providers.base import DailyBarsBatch, Failure
from trading_pipeline.providers.errors import ProviderDown
from trading_pipeline_tests.promises import QUIET, Site, Twist

PRICES = ("open", "high", "low", "close")


@dataclass
class Sensor:
    """A sensor of a site, evaluated as the daemon does it: its cursor is kept from tick to tick."""

    site: Site
    name: str
    cursor: str | None = field(default=None)

    def tick(self, now: datetime, twist: Twist | None = None) -> dg.RunRequest | str:
        """The one run that the sensor asks for at the moment `now`, or why it asks for none."""
        requests, why = self.requests(now, twist)
        assert len(requests) <= 1
        return requests[0] if requests else why

    def requests(self, now: datetime, twist: Twist | None = None) -> tuple[list[dg.RunRequest], str]:
        """Every run that the sensor asks for at the moment `now`, and why it asks for none."""
        definitions = build_definitions(self.site.settings, open_world=lambda: self.site.world(now, twist))
        repository = definitions.get_repository_def()
        context = dg.build_sensor_context(
            instance=self.site.instance, cursor=self.cursor, repository_def=repository, sensor_name=self.name
        )
        data = repository.get_sensor_def(self.name).evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or []), data.skip_message or ""


def fulfil(
    site: Site, job: str, request: dg.RunRequest, now: datetime, twist: Twist | None = None
) -> dg.ExecuteInProcessResult:
    """Make the run that a sensor asked for, at the moment `now`; a failing one ends as a failure, not as an error."""
    definitions = build_definitions(site.settings, open_world=lambda: site.world(now, twist))
    resolved = definitions.resolve_job_def(job)
    # The marts hold no session and have tests of their own.
    keys = [key for key in resolved.asset_layer.executable_asset_keys if key.path[0] == site.market.name]
    return resolved.execute_in_process(
        instance=site.instance,
        tags=dict(request.tags),
        run_config={**QUIET, **request.run_config},
        asset_selection=keys or None,
        raise_on_error=False,
    )


class Passing:
    """A provider that says what another says; the base of those that do not quite."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


class Changed(Passing):
    """Says another price of one bar."""

    def __init__(self, plain: Any, symbol: str, session: date, factor: float) -> None:
        super().__init__(plain)
        self.symbol, self.session, self.factor = symbol, session, factor

    def daily_bars(self, requests: Any, **how: Any) -> DailyBarsBatch:
        """The plain answer with the prices of that bar multiplied by the factor."""
        batch = self.plain.daily_bars(requests, **how)
        its = (pl.col("symbol") == self.symbol) & (pl.col("session") == self.session)
        batch.bars = batch.bars.with_columns(
            pl.when(its).then(pl.col(name) * self.factor).otherwise(pl.col(name)) for name in PRICES
        )
        return batch


class Hiding(Passing):
    """Leaves one symbol out of its universes; asked for it, it answers."""

    def __init__(self, plain: Any, symbol: str) -> None:
        super().__init__(plain)
        self.symbol = symbol

    def members(self, *given: Any, **how: Any) -> pl.DataFrame:
        """The plain members without the symbol."""
        return self.plain.members(*given, **how).filter(pl.col("ticker") != self.symbol)


class Down(Passing):
    """Answers nothing."""

    def daily_bars(self, requests: Any, **how: Any) -> DailyBarsBatch:
        """Every symbol failed."""
        failures = [Failure(request.symbol, ProviderDown("The provider is down")) for request in requests]
        return DailyBarsBatch(failures=failures, basis="split_adjusted")
