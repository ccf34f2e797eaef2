"""Components: the points of every input, the components they make, the total they make.

What belongs here: weighing what is known. What does not: curves (`curves.py`), verdicts (`verdicts.py`).

An input that is unknown takes no part: the others of its component weigh more, and `confidence` less. An input that
does not apply to a row (a bank's EBITDA) takes no part either, but is not missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Floats, Mask
from trading_pipeline.research.screener.curves import Worth
from trading_pipeline.research.screener.measures import APPLICABLE
from trading_pipeline.research.screener.peers import Groups, known_mask
from trading_pipeline.research.screener.rules import COMPONENTS, ENVIRONMENTS, SCORERS, Component, Input, Rules, Scorer


@dataclass(frozen=True)
class Points:
    """The points of one input. points: NaN where unknown or not judged. weight: 0 where it is not judged at all.

    parts: the rows of each way it is valued.
    """

    rule: Input
    points: Floats
    weight: Floats
    parts: tuple[tuple[Mask, Worth], ...]


@dataclass(frozen=True)
class Judged:
    """What the inputs make of each row.

    points: of each input. scores: of each component, NaN where too little is known. known: weight of the known inputs
    of each component. weights: of each component in the total, by the rules. total: NaN below the least confidence.
    """

    points: list[Points]
    scores: dict[Component, Floats]
    known: dict[Component, Floats]
    weights: dict[Component, Floats]
    weight_of_known: Floats
    confidence: Floats
    total: Floats

    def share(self, points: Points) -> Floats:
        """By how much the total rises with each point of an input, where it is known."""
        component = points.rule.component
        with np.errstate(divide="ignore", invalid="ignore"):
            return points.weight / self.known[component] * self.weights[component] / self.weight_of_known


@np.errstate(divide="ignore", invalid="ignore")
def judge(book: pl.DataFrame, measures: Mapping[str, Floats], sectors: Groups, rules: Rules) -> Judged:
    """Points, components, confidence and total of every row of the book.

    measures: by name, one value a row, NaN where unknown. sectors: the stocks of each session and sector.
    """
    environment = book["environment"].fill_null("unknown")
    scorers = {scorer: (book["asset_type"] == scorer).to_numpy() for scorer in SCORERS}
    environments = {name: (environment == name).to_numpy() for name in ENVIRONMENTS}
    applicable = book.select(**APPLICABLE)
    outside = {name: (book["sector"] == name).fill_null(False).to_numpy() for name in _sectors_named(rules)}

    points = []
    for rule in rules.inputs:
        values = measures[rule.name]
        judged = np.logical_or.reduce([scorers[scorer] for scorer in rule.scorers])
        for sector in rule.not_for:
            judged &= ~outside[sector]
        if rule.name in APPLICABLE:
            judged &= applicable[rule.name].to_numpy()
        points.append(_points(rule, values, judged, environments, sectors, rules.peers.least))

    count = book.height
    possible = {name: np.zeros(count) for name in COMPONENTS}
    known = {name: np.zeros(count) for name in COMPONENTS}
    sums = {name: np.zeros(count) for name in COMPONENTS}
    for one in points:
        weight = np.where(known_mask(one.points), one.weight, 0.0)
        possible[one.rule.component] += one.weight
        known[one.rule.component] += weight
        sums[one.rule.component] += np.where(weight > 0, weight * one.points, 0.0)

    weights = _weights(scorers, environments, rules, count)
    scores, of_known, confidence, total = {}, np.zeros(count), np.zeros(count), np.zeros(count)
    for name in COMPONENTS:
        share = np.where(possible[name] > 0, known[name] / possible[name], 0.0)
        enough = (np.round(share, 9) >= rules.confidence.component) & (known[name] > 0)
        scores[name] = np.where(enough, sums[name] / known[name], np.nan)
        of_known += np.where(enough, weights[name], 0.0)
        confidence += np.where(enough, weights[name] * share, 0.0)
        total += np.where(enough, weights[name] * scores[name], 0.0)
    confident = (np.round(confidence, 9) >= rules.confidence.least) & (of_known > 0)
    total = np.where(confident, total / of_known, np.nan)
    return Judged(points, scores, known, weights, of_known, confidence, total)


def _points(
    rule: Input, values: Floats, judged: Mask, environments: Mapping[str, Mask], sectors: Groups, least: int
) -> Points:
    median = None
    if rule.peers is not None:
        # A loss has no multiple: the median is that of the members that have one.
        median = sectors.median_of_others(np.where(np.isfinite(values) & judged, values, np.nan), least)
    if rule.environments is None:
        parts = [(judged, Worth.of(rule, "A", median))]
    else:
        parts = [(judged & here, Worth.of(rule, name, median)) for name, here in environments.items()]
    points = np.full(len(values), np.nan)
    for where, worth in parts:
        rows = np.flatnonzero(where)
        points[rows] = worth.at(rows).points(values[rows])
    return Points(rule, points, np.where(judged, rule.weight, 0.0), tuple(parts))


def _weights(
    scorers: Mapping[Scorer, Mask], environments: Mapping[str, Mask], rules: Rules, count: int
) -> dict[Component, Floats]:
    weights = {name: np.zeros(count) for name in COMPONENTS}
    for scorer, of_scorer in scorers.items():
        for environment, here in environments.items():
            table = rules.weights[scorer][environment]
            for name in COMPONENTS:
                weights[name][of_scorer & here] = getattr(table, name)
    return weights


def _sectors_named(rules: Rules) -> set[str]:
    return {sector for rule in rules.inputs for sector in rule.not_for}
