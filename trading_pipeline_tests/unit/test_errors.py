"""Errors: one line with the remedy, the same on both sides of a process boundary."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import trading_pipeline
from trading_pipeline.errors import TradingPipelineError, UnknownName, UnknownSession


def _every_error() -> Iterator[type[TradingPipelineError]]:
    for module in pkgutil.walk_packages(trading_pipeline.__path__, "trading_pipeline."):
        # Alembic runs its migration environment on import.
        if ".migrations" not in module.name:
            importlib.import_module(module.name)
    found = [TradingPipelineError]
    for kind in found:
        found += [child for child in kind.__subclasses__() if child not in found]
        if kind.__module__.startswith("trading_pipeline."):
            yield kind


def test_an_error_is_one_line_that_says_what_is_wrong_and_how_to_mend_it() -> None:
    error = UnknownSession("2024-12-25 is a holiday.", "Choose another day.")
    assert str(error) == "2024-12-25 is a holiday. Choose another day."
    assert (error.problem, error.remedy) == ("2024-12-25 is a holiday", "Choose another day")


def test_an_unknown_name_lists_the_known_ones() -> None:
    error = UnknownName.of("market", "moon", {"us": 1, "asx": 2})
    assert str(error) == "There is no market named 'moon'. Known: asx, us."


def test_every_error_survives_the_way_to_another_process() -> None:
    kinds = list(_every_error())
    assert len(kinds) > 10
    for kind in kinds:
        original = kind("What is wrong", "How to mend it")
        copy = pickle.loads(pickle.dumps(original))
        assert (type(copy), str(copy)) == (kind, str(original)), kind


@pytest.mark.parametrize("kind", [TradingPipelineError, UnknownName])
def test_errors_are_exceptions_and_nothing_broader(kind: type[TradingPipelineError]) -> None:
    assert issubclass(kind, Exception)
