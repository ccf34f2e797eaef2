"""What a backtest is told: one TOML text, typed, with a hash of everything that decides its result.

What belongs here: reading and checking a configuration. What does not: acting by it (`execution.py`,
`research/allocation`, `research/performance`, `research/sweeps`), finding the files.

```toml
name = "momentum-hrp"
title = "Momentum, weighted by hierarchical risk parity"
strategy = "momentum"
market = "us"
universe = "SPX500"
first_session = 2016-01-04
capital = 1_000_000

[parameters]
lookback = 252

[allocation]                # or [risk]
method = "hierarchical_risk_parity"
rebalance = "monthly"

[costs]
fees_bps = 1.0
borrow_rate = 0.01
slippage = { kind = "spread", bps = 4.0 }

[sweep]
lookback = { first = 126, last = 252, step = 63 }
```
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trading_pipeline.research.allocation.rebalancing import Frequency
from trading_pipeline.research.allocation.weights import Method
from trading_pipeline.research.strategies.base import Strategy, StrategyError, strategy

Share = Annotated[float, Field(ge=0, le=1)]
BasisPoints = Annotated[float, Field(ge=0, le=1_000)]
Scalar = bool | int | float | str

MOST_VALUES = 10_000
"""Values of one swept parameter; more is a step that lacks its decimal point."""


class ConfigurationError(ValueError):
    """A configuration cannot be used: one line that names each key at fault and what it may be."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Allocation(_Part):
    """Weights over all names that are signalled, made anew by a calendar.

    minimum_position, maximum_position: shares of equity; a smaller position is given up, a larger one is cut.
    turnover_limit: half of what one rebalancing may buy and sell, share of equity. minimum_history: sessions with a
    return, among the `lookback` sessions that weights are made from, below which a name gets none. gross_exposure: sum
    of the positions' absolute values, share of equity.
    """

    method: Method = "equal_weight"
    rebalance: Frequency = "monthly"
    minimum_position: Share = 0.0
    maximum_position: Annotated[float, Field(gt=0, le=10)] = 1.0
    turnover_limit: Annotated[float, Field(gt=0)] | None = None
    minimum_history: Annotated[int, Field(ge=2, le=5_000)] = 60
    lookback: Annotated[int, Field(ge=2, le=5_000)] = 252
    gross_exposure: Annotated[float, Field(gt=0, le=10)] = 1.0

    @model_validator(mode="after")
    def _possible(self) -> Allocation:
        if self.minimum_position > self.maximum_position:
            raise ValueError("minimum_position must not be above maximum_position")
        if self.minimum_history > self.lookback:
            raise ValueError("minimum_history must not be above lookback")
        return self


class Risk(_Part):
    """Every entry sized by itself from the distance to its stop, by `research.risk.sized` and the market's limits.

    gross_exposure: as in `Allocation`.
    """

    gross_exposure: Annotated[float, Field(gt=0, le=10)] = 1.0


class FixedSlippage(_Part):
    """Every fill is worse than its reference by so much."""

    kind: Literal["fixed"] = "fixed"
    bps: BasisPoints = 5.0


class SpreadSlippage(_Part):
    """Every fill crosses half of a spread of this width."""

    kind: Literal["spread"] = "spread"
    bps: BasisPoints = 5.0


class VolumeSlippage(_Part):
    """Every fill moves the price by `impact` x the square root of its share of the session's volume.

    The square-root law of market impact (Almgren, Thum, Hauptmann and Li, Direct Estimation of Equity Market Impact,
    2005, measured an exponent near it); impact: of an order as large as the session's volume, about the volatility of
    a session.
    """

    kind: Literal["volume_share"] = "volume_share"
    impact: Annotated[float, Field(ge=0, le=1)] = 0.02


class Costs(_Part):
    """What trading costs. On unless turned off.

    fees_bps: of the value of each fill. borrow_rate: a year, of the value of short positions, charged on each session
    by 252. delisting_haircut: share of its last close that a holding loses when it is delisted (0.3: what Shumway, The
    Delisting Bias in CRSP Data, 1997, found for delistings for cause).
    """

    fees_bps: BasisPoints = 1.0
    slippage: Annotated[FixedSlippage | SpreadSlippage | VolumeSlippage, Field(discriminator="kind")] = FixedSlippage()
    borrow_rate: Annotated[float, Field(ge=0, le=5)] = 0.01
    delisting_haircut: Share = 0.3


class Execution(_Part):
    """How orders become fills. There is one way: at the open after the close that decided them.

    max_volume_share: the most of a session's volume that one name's fills may be; None: no limit. carry_sessions: how
    many sessions an order that opens may wait for a bar or for volume; one that closes waits as long as it takes.
    """

    fill: Literal["next_open"] = "next_open"
    max_volume_share: Annotated[float, Field(gt=0, le=1)] | None = None
    carry_sessions: Annotated[int, Field(ge=0, le=252)] = 5


class Coverage(_Part):
    """What is done where fewer of a session's members than `threshold` have a bar: survivorship of the data."""

    threshold: Share = 0.95
    on_low: Literal["watermark", "refuse"] = "watermark"


class WalkForward(_Part):
    """Windows in sessions: `training` to choose parameters in, then `test` to judge them in.

    anchored: all trainings begin with the first session, and grow. purge: sessions dropped between the two. embargo:
    sessions after a test that no later training uses. parameters: the values of each that are chosen among, in all
    combinations that the strategy takes; none: the configured set alone is tested.
    """

    anchored: bool = False
    training: Annotated[int, Field(ge=20)] = 756
    test: Annotated[int, Field(ge=5)] = 126
    purge: Annotated[int, Field(ge=0)] = 5
    embargo: Annotated[int, Field(ge=0)] = 5
    parameters: dict[str, tuple[Scalar, ...]] = {}

    @field_validator("parameters", mode="before")
    @classmethod
    def _ranges(cls, told: Any) -> Any:
        return _ranges(told)


class MonteCarlo(_Part):
    """Resampling: `paths` of returns drawn from `seed` in blocks of `block` sessions in the mean; None: the optimal."""

    paths: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    block: Annotated[float, Field(ge=1, le=2_520)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Configuration(_Part):
    """One backtest. Exactly one of `allocation` and `risk` decides sizes. Money in the market's currency.

    parameters: those of the strategy, with its defaults filled in by `parse_configuration`. first_session: signals
    before it open nothing. sweep: the values of each parameter that a sweep tries on every instrument by itself;
    sweep_chunks: parts it is computed in, side by side on a cluster.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$")]
    title: str = ""
    strategy: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] = {}
    market: Literal["us", "asx"]
    universe: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    first_session: date | None = None
    capital: Annotated[float, Field(gt=0, le=1e12)] = 100_000.0
    allocation: Allocation | None = None
    risk: Risk | None = None
    costs: Costs = Costs()
    execution: Execution = Execution()
    coverage: Coverage = Coverage()
    walk_forward: WalkForward = WalkForward()
    monte_carlo: MonteCarlo = MonteCarlo()
    sweep: dict[str, tuple[Scalar, ...]] = {}
    sweep_chunks: Annotated[int, Field(ge=1, le=1_000)] = 1

    @field_validator("sweep", mode="before")
    @classmethod
    def _ranges(cls, told: Any) -> Any:
        return _ranges(told)

    @model_validator(mode="after")
    def _one_way_to_size(self) -> Configuration:
        if (self.allocation is None) == (self.risk is None):
            raise ValueError("give either [allocation] or [risk]")
        return self

    @property
    def gross_exposure(self) -> float:
        """Largest sum of the positions' absolute values that is aimed at, share of equity."""
        return (self.allocation or self.risk or Risk()).gross_exposure

    @property
    def hash(self) -> str:
        """sha256, in hex, of all that decides the result: the same hash gives the same result, bit for bit.

        Name, title, chunks, order and comments decide nothing. Where entries are sized by risk, the version of the
        market's limits is part of it; where by allocation, that its limits forbid short selling.
        """
        from trading_pipeline.research.risk import load_limits

        content = self.model_dump(mode="json", exclude={"name", "title", "sweep_chunks"})
        limits = load_limits(self.market)
        if self.risk is not None:
            content["limits"] = limits.version
        elif not limits.market.short_selling:
            content["short_selling"] = False
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def built(self) -> Strategy:
        """The strategy with these parameters; `StrategyError` where there is none such."""
        return strategy(self.strategy, self.parameters)

    def with_parameters(self, **changed: Any) -> Configuration:
        """The same with other values of some parameters; `StrategyError` where the strategy does not take them."""
        parameters = strategy(self.strategy, {**self.parameters, **changed}).parameters.model_dump(mode="json")
        return self.model_copy(update={"parameters": parameters})


def parse_configuration(text: str) -> Configuration:
    """The configuration in a TOML text, the strategy's default parameters filled in.

    `ConfigurationError`, one line, names every key that is unknown, missing or out of range, and what it may be.
    """
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the configuration is no TOML: {error}") from None
    try:
        configuration = Configuration.model_validate(told)
    except ValidationError as error:
        faults = "; ".join(_fault(dict(each)) for each in error.errors())
        raise ConfigurationError(f"the configuration {_named(told)} cannot be used: {faults}") from None
    try:
        chosen = configuration.built()
    except StrategyError as error:
        raise ConfigurationError(f"the configuration {_named(told)} cannot be used: {error}") from None
    known = type(chosen.parameters).model_fields
    ranges = {"sweep": configuration.sweep, "walk_forward.parameters": configuration.walk_forward.parameters}
    unknown = [f"{place}.{name}" for place, names in ranges.items() for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            f"the configuration {_named(told)} cannot be used: {unknown[0]}: strategy {configuration.strategy} "
            f"has no such parameter, use one of {', '.join(known)}"
        )
    return configuration.model_copy(update={"parameters": chosen.parameters.model_dump(mode="json")})


def _named(told: dict[str, Any]) -> str:
    return repr(told["name"]) if isinstance(told.get("name"), str) else "without a name"


def _fault(error: dict[str, Any]) -> str:
    """`key: what is wrong with it`, with the keys that there are where it is unknown."""
    tags = {"fixed", "spread", "volume_share"}
    place = [str(part) for at, part in enumerate(error["loc"]) if not (at == 2 and part in tags)]
    key = ".".join(place) or "together"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown, remove it{_siblings(place)}"
    if error["type"] == "missing":
        return f"{key}: missing, set it"
    return f"{key}: {error['msg'].removeprefix('Value error, ')}"


def _siblings(place: list[str]) -> str:
    kind: type[BaseModel] | None = Configuration
    if len(place) == 2:
        parts: dict[str, type[BaseModel]] = {
            "allocation": Allocation, "risk": Risk, "costs": Costs, "execution": Execution, "coverage": Coverage,
            "walk_forward": WalkForward, "monte_carlo": MonteCarlo,
        }  # fmt: skip
        kind = parts.get(place[0])
    elif len(place) != 1:
        kind = None
    return f" or use one of {', '.join(kind.model_fields)}" if kind else ""


def _ranges(told: Any) -> Any:
    return {name: _values(each) for name, each in told.items()} if isinstance(told, dict) else told


def _values(told: Any) -> Any:
    """A list as it is, one value as itself alone; {first, last, step} as the values from first to last."""
    if not isinstance(told, dict):
        values = told if isinstance(told, list | tuple) else [told]
    elif set(told) != {"first", "last", "step"} or not all(_is_number(each) for each in told.values()):
        raise ValueError("give a list, or first, last and step")
    elif told["step"] <= 0 or told["last"] < told["first"]:
        raise ValueError("step must be above 0, and last not below first")
    else:
        # A sum of steps drifts; a product rounded to what a step resolves does not.
        count = math.floor((told["last"] - told["first"]) / told["step"] + 1e-9) + 1
        if count > MOST_VALUES:
            raise ValueError(f"{count} values are more than {MOST_VALUES}: take a larger step")
        whole = all(isinstance(each, int) for each in told.values())
        values = [told["first"] + told["step"] * place for place in range(count)]
        values = values if whole else [round(each, 12) for each in values]
    if isinstance(values, list | tuple) and (not values or len(set(map(repr, values))) < len(values)):
        raise ValueError("give at least one value, and none twice")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
