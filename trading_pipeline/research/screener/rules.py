"""The rules of the screener as types: loaded from `rules.toml`, validated, versioned.

What belongs here: the shape of the rules, what must be true of them, their fingerprint. What does not: the numbers
(`rules.toml`, each with its reason), and what is done with them.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trading_pipeline.research.screener.measures import APPLICABLE, MEASURES

RULES_FILE = Path(__file__).with_name("rules.toml")

Scorer: TypeAlias = Literal["stock", "etf", "bond_etf"]
Component: TypeAlias = Literal["fundamental", "technical", "relative_strength", "sector", "catalyst"]
Verdict: TypeAlias = Literal["Avoid", "Hold", "Buy", "Strong Buy"]
Corners: TypeAlias = tuple[tuple[float, float], ...]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

SCORERS: tuple[Scorer, ...] = ("stock", "etf", "bond_etf")
COMPONENTS: tuple[Component, ...] = ("fundamental", "technical", "relative_strength", "sector", "catalyst")
VERDICTS: tuple[Verdict, ...] = ("Avoid", "Hold", "Buy", "Strong Buy")
ENVIRONMENTS = ("A", "B", "C", "D", "unknown")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Reasoned(_Table):
    """Numbers and why they are what they are."""

    reason: Annotated[str, Field(min_length=10)]


def _ascending(what: str, *values: float) -> None:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{what} must ascend, not {', '.join(f'{value:g}' for value in values)}")


def _sums_to_one(what: str, weights: list[float]) -> None:
    if not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        raise ValueError(f"weights of {what} sum to {math.fsum(weights):g}, not to 1")


class Verdicts(_Reasoned):
    """Totals from which each verdict holds; below `hold` it is Avoid."""

    hold: float
    buy: float
    strong_buy: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("totals of the verdicts", 0, self.hold, self.buy, self.strong_buy, 100)
        return self


class Grades(_Reasoned):
    """Totals from which each grade holds; below `d` it is F."""

    a: float
    b: float
    c: float
    d: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("totals of the grades", 0, self.d, self.c, self.b, self.a, 100)
        return self


class Confidence(_Reasoned):
    """Confidence from which there is a total, a Buy, a Strong Buy; what else it takes.

    component: known share that makes a component. without_fundamentals: the best verdict where that one is unknown.
    """

    least: Share
    buy: Share
    strong_buy: Share
    component: Share
    without_fundamentals: Verdict

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("confidences", self.least, self.buy, self.strong_buy)
        return self


class Peers(_Reasoned):
    """least: others that make a median or a percentile."""

    least: Annotated[int, Field(ge=1)]


class Sizes(_Reasoned):
    """Market capitalisations from which each bucket begins; small is what is below."""

    mid: Positive
    large: Positive
    mega: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("sizes", self.mid, self.large, self.mega)
        return self


class PriceDrift(_Reasoned):
    """most: factor between close and snapshot price up to which the snapshot is moved to the close."""

    most: Annotated[float, Field(gt=1)]


class News(_Reasoned):
    """half_life_days: calendar days after which an article counts half."""

    half_life_days: Positive


class Sectors(_Reasoned):
    """least: others that make a sector. aliases: other names of sectors."""

    least: Annotated[int, Field(ge=1)]
    aliases: dict[str, str]


class Dcf(_Reasoned):
    """Assumptions of the two-stage DCF; `dcf.py` says how they are used."""

    growth_years: Annotated[int, Field(ge=1, le=30)]
    fade_years: Annotated[int, Field(ge=0, le=30)]
    growth_least: float
    growth_most: float
    risk_free: Share
    equity_premium: Share
    beta_least: Positive
    beta_most: Positive
    terminal_growth: float
    not_for: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("bounds of growth", self.growth_least, self.growth_most)
        _ascending("bounds of beta", self.beta_least, self.beta_most)
        least = self.risk_free + self.beta_least * self.equity_premium
        if least <= self.terminal_growth + 0.01:
            raise ValueError(
                f"terminal_growth {self.terminal_growth:g} must be 0.01 below the least discount rate, {least:g}"
            )
        return self


class Gate(_Reasoned):
    """A bound on a measure. sectors: their own bounds. not_for: sectors it leaves out. cap: verdict when failed."""

    name: str
    measure: str
    scorers: tuple[Scorer, ...]
    least: float | None = None
    most: float | None = None
    sectors: dict[str, float] = {}
    not_for: tuple[str, ...] = ()
    unit: Literal["amount", "ratio", "fraction", "count"]
    cap: Literal["Avoid", "Hold"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.least is None) == (self.most is None):
            raise ValueError(f"gate {self.name} needs either `least` or `most`")
        _known_measure(f"gate {self.name}", self.measure)
        return self

    @property
    def limits(self) -> set[float]:
        """Every bound it has."""
        return {self.limit, *self.sectors.values()}

    @property
    def limit(self) -> float:
        """The bound where a sector has none of its own."""
        bound = self.least if self.least is not None else self.most
        assert bound is not None
        return bound


class Weights(_Reasoned):
    """Weights of the components in the total."""

    fundamental: Share
    technical: Share
    relative_strength: Share
    sector: Share
    catalyst: Share

    @model_validator(mode="after")
    def _check(self) -> Self:
        _sums_to_one("components", [getattr(self, name) for name in COMPONENTS])
        return self


class PeerCurve(_Table):
    """Points by the ratio to, or the difference from, the median of the sector's others; `weight`: its part."""

    kind: Literal["ratio", "difference"]
    weight: Annotated[float, Field(gt=0, lt=1)]
    curve: Corners

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_curve("peers", self.curve)
        return self


class Input(_Reasoned):
    """An input of a component: its weight there, and its points by a curve, or by one for each environment."""

    name: str
    scorers: tuple[Scorer, ...]
    component: Component
    weight: Annotated[float, Field(gt=0, le=1)]
    curve: Corners | None = None
    environments: dict[str, Corners] | None = None
    peers: PeerCurve | None = None
    not_for: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _known_measure("input", self.name)
        if (self.curve is None) == (self.environments is None):
            raise ValueError(f"input {self.name} needs either `curve` or `environments`")
        if self.environments is not None and set(self.environments) != set(ENVIRONMENTS):
            raise ValueError(f"input {self.name} needs a curve for each of {', '.join(ENVIRONMENTS)}")
        for environment in ENVIRONMENTS:
            _check_curve(f"input {self.name}", self.curve_in(environment))
        if self.peers is not None:
            if self.curve is None or {_direction(self.curve), _direction(self.peers.curve)} not in ({1}, {-1}):
                raise ValueError(f"input {self.name} and its peers must both rise or both fall")
            if self.peers.kind == "ratio" and _direction(self.curve) != -1:
                raise ValueError(f"input {self.name}: a ratio to peers is for multiples, which fall")
        return self

    def curve_in(self, environment: str) -> Corners:
        """The curve in an environment, A to D or unknown."""
        if self.environments is not None:
            return self.environments[environment]
        assert self.curve is not None
        return self.curve


class Flag(_Reasoned):
    """The limit of a flag; `signs`: how many it takes; `sectors`: limits of their own; `cap`: best verdict with it."""

    limit: float
    signs: int | None = None
    sectors: dict[str, float] = {}
    cap: Literal["Avoid", "Hold", "Buy"] | None = None


class Flags(_Table):
    """Every flag that has a limit."""

    value_trap: Flag
    earnings_soon: Flag
    ex_dividend_soon: Flag
    high_short_interest: Flag
    over_extended: Flag
    overbought: Flag
    high_debt: Flag
    negative_news: Flag
    stale_fundamentals: Flag
    low_confidence: Flag


class Rules(_Table):
    """All the rules. `fingerprint` is for an asset's code version: it changes with every number, not with a reason."""

    version: Annotated[str, Field(min_length=1)]
    verdicts: Verdicts
    grades: Grades
    confidence: Confidence
    peers: Peers
    sizes: Sizes
    price_drift: PriceDrift
    news: News
    sectors: Sectors
    dcf: Dcf
    gates: tuple[Gate, ...]
    weights: dict[Scorer, dict[str, Weights]]
    inputs: tuple[Input, ...]
    flags: Flags

    @model_validator(mode="after")
    def _check(self) -> Self:
        for scorer in SCORERS:
            given = set(self.weights.get(scorer, {}))
            if given != set(ENVIRONMENTS):
                raise ValueError(f"weights of {scorer} are for {', '.join(sorted(given))}; needed: A, B, C, D, unknown")
            names = [judged.name for judged in self.inputs_of(scorer)]
            if len(names) != len(set(names)):
                raise ValueError(f"an input of {scorer} is there twice: {', '.join(sorted(names))}")
            for component in COMPONENTS:
                weights = [judged.weight for judged in self.inputs_of(scorer) if judged.component == component]
                if weights:
                    _sums_to_one(f"the {component} inputs of {scorer}", weights)
                elif any(getattr(table, component) > 0 for table in self.weights[scorer].values()):
                    raise ValueError(f"{component} of {scorer} has a weight but no inputs")
        gates = [gate.name for gate in self.gates]
        if len(gates) != len(set(gates)):
            raise ValueError(f"a gate is there twice: {', '.join(sorted(gates))}")
        return self

    def inputs_of(self, scorer: Scorer) -> list[Input]:
        """The inputs of a scorer, in the order of the file."""
        return [judged for judged in self.inputs if scorer in judged.scorers]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: SHA-256 of every name and number, reasons left out."""
        text = json.dumps(_without_reasons(self.model_dump(mode="json")), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=8)
def load_rules(path: Path = RULES_FILE) -> Rules:
    """The rules of a TOML file. `ValueError` (pydantic's) says what in it is wrong; `tomllib.TOMLDecodeError` where."""
    return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def _without_reasons(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_reasons(inner) for key, inner in value.items() if key != "reason"}
    return [_without_reasons(inner) for inner in value] if isinstance(value, list) else value


def _known_measure(what: str, name: str) -> None:
    if name not in MEASURES:
        raise ValueError(f"{what} judges {name}, which is not measured; known: {', '.join(sorted(MEASURES))}")
    assert set(APPLICABLE) <= set(MEASURES)


def _check_curve(what: str, curve: Corners) -> None:
    if len(curve) < 2:
        raise ValueError(f"the curve of {what} needs two corners")
    _ascending(f"inputs of the curve of {what}", *(x for x, _ in curve))
    points = [y for _, y in curve]
    if not all(0 <= y <= 100 for y in points):
        raise ValueError(f"points of the curve of {what} must lie within 0 and 100")
    peak = points.index(max(points))
    if points[: peak + 1] != sorted(points[: peak + 1]) or points[peak:] != sorted(points[peak:], reverse=True):
        raise ValueError(f"the curve of {what} must rise, fall, or rise and then fall")


def _direction(curve: Corners) -> int:
    """1 where the curve only rises, -1 where it only falls, 0 where it does both."""
    points = [y for _, y in curve]
    return 1 if points == sorted(points) else -1 if points == sorted(points, reverse=True) else 0
