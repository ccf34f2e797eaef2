"""A sweep computed in parts, wherever and whenever they run: the same as at once, and never a mixture."""

from __future__ import annotations

import json
from datetime import timedelta

import polars as pl
import pytest

from trading_pipeline.backtesting.results import latest_results
from trading_pipeline.backtesting.sweeps import part_named, parts_of, publish_part
from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import US
from trading_pipeline.research import sweeps as science
from trading_pipeline.tables import PARAMETER_SWEEPS, SWEEP_PAIRS
from trading_pipeline_tests.backtest_desks import BOTH_SIDES, Desk, cross
from trading_pipeline_tests.promises import LAST


def part(desk: Desk, text: str, number: int) -> pl.DataFrame:
    """Compute one part of a configuration's sweep."""
    configuration = desk.keep(text)
    with desk.world() as world:
        return publish_part(world, configuration, *part_named(parts_of(configuration)[number - 1])[1:])


def summary(desk: Desk, name: str) -> pl.DataFrame:
    """The summary of a sweep, whoever's it is."""
    return desk.rows(PARAMETER_SWEEPS, configuration=name).drop("configuration")


def test_in_three_parts_it_is_what_it_is_at_once(copied: Desk) -> None:
    """In whatever order they are computed; put together once all are there."""
    text = cross("thirds", chunks=3)
    for number in (3, 1):
        assert part(copied, text, number).height == 3 * len(copied.instruments)
        assert summary(copied, "thirds").is_empty()
    part(copied, text, 2)
    whole = summary(copied, "cross")
    assert whole.height == 9
    assert summary(copied, "thirds").equals(whole)
    pairs = [
        copied.rows(SWEEP_PAIRS, configuration=name)
        .drop("configuration", "chunk", "configuration_hash")
        .sort("instrument_id", "parameters")
        for name in ("cross", "thirds")
    ]
    assert pairs[0].height == 9 * len(copied.instruments)
    assert pairs[0].equals(pairs[1])


def test_the_summary_tells_what_the_pairs_came_to(later: Desk) -> None:
    pairs, sets = (later.rows(table, configuration="cross") for table in (SWEEP_PAIRS, PARAMETER_SWEEPS))
    own = pairs.filter((pl.col("parameters") == sets["parameters"][0]) & (pl.col("trades") > 0))
    row = sets.row(0, named=True)
    assert (row["instruments"], row["traded"], row["last_session"]) == (len(later.instruments), own.height, LAST)
    assert row["median_sharpe"] == own["sharpe"].median()
    assert row["share_profitable"] == (own["total_return"] > 0).mean()
    assert [json.loads(text) for text in sets.filter("configured")["parameters"]] == [{"fast": 5, "slow": 20}]
    assert sets["is_plateau"].sum() == 1
    best = sets.filter("is_plateau").row(0, named=True)
    corner = {(3, 15), (3, 30), (8, 15), (8, 30)}
    told = json.loads(best["parameters"])
    assert (told["fast"], told["slow"]) not in corner


def test_parts_of_an_earlier_configuration_are_not_put_together_with_those_of_a_later_one(copied: Desk) -> None:
    """Costs change between the parts: what there is of the summary stays until all are of the same."""
    text = cross("mixed", chunks=3)
    for number in (1, 2, 3):
        part(copied, text, number)
    before = summary(copied, "mixed")
    dear = text + "costs = { fees_bps = 50.0 }\n"
    for number in (1, 2):
        part(copied, dear, number)
        assert summary(copied, "mixed").equals(before)
    part(copied, dear, 3)
    after = summary(copied, "mixed")
    assert (after["median_total_return"] < before["median_total_return"]).all()
    assert (after["mean_trades"] == before["mean_trades"]).all()


def test_fewer_parts_take_the_place_of_more(copied: Desk) -> None:
    for chunks in (3, 2):
        for number in range(1, chunks + 1):
            part(copied, cross("parted", chunks=chunks), number)
    assert set(copied.rows(SWEEP_PAIRS, configuration="parted")["chunk"]) == {"1-of-2", "2-of-2"}
    assert summary(copied, "parted").equals(summary(copied, "cross"))


def test_an_order_is_carried_as_long_as_the_configuration_says(copied: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in its backtest."""
    plain, asked = science.sweep, []

    def watched(*given: object, **how: object) -> object:
        asked.append((how["carry_sessions"], given[2]))
        return plain(*given, **how)

    monkeypatch.setattr(science, "sweep", watched)
    part(copied, cross("patient", more="execution = { carry_sessions = 17 }\ncosts = { fees_bps = 3.0 }"), 1)
    ((carried, costs),) = asked
    assert (carried, costs.fees, costs.slippage) == (17, 0.0003, 0.0005)


def test_a_sweep_too_large_for_memory_says_how_to_part_it(copied: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = science.sweep
    monkeypatch.setattr(science, "sweep", lambda *given, **how: plain(*given, **how, memory_budget=1_000))
    with pytest.raises(InputRefused, match=r"large cannot be backtested: sweep of .* Set sweep_chunks to more than 1"):
        part(copied, cross("large"), 1)


def test_who_has_no_sweep_has_no_part(later: Desk) -> None:
    configuration = later.keep(BOTH_SIDES)
    assert parts_of(configuration) == []
    with later.world() as world, pytest.raises(InputRefused, match=r"both-sides has no \[sweep\]"):
        publish_part(world, configuration, 1, 1)


def test_the_latest_results_are_one_a_configuration(later: Desk) -> None:
    with later.world(later=timedelta(days=1)) as world:
        told = latest_results(world, US)
    assert told["configuration"].to_list() == ["both-sides", "cross"]
    assert set(told["session"]) == {LAST}
