"""The benchmark of a sweep runs on a tiny market, and both sides come to the same metrics there."""

from __future__ import annotations

from pathlib import Path

from benchmarks import sweep
from benchmarks.__main__ import MODULES


def test_a_sweep_is_measured_beside_vectorbt(tmp_path: Path):
    rows = sweep.measure(tmp_path, tickers=4, sessions=300, pairs=50, combinations=3)
    assert [row.what.split()[0] for row in rows] == ["sweep", "bar-steps", "one", "memory:", "largest"]
    assert rows[0].met is not None and rows[2].ratio > 0
    assert rows[-1].met and MODULES["sweep"] == "benchmarks.sweep"


def test_a_metric_that_only_one_side_has_is_no_small_difference():
    same = {name: [[1.0, 2.0]] for name in sweep.METRICS}
    assert sweep._apart(same, same) == 0
    assert sweep._apart(same | {"sharpe": [[1.0, float("nan")]]}, same) == float("inf")
    assert sweep._apart(same | {"sharpe": [[1.0, float("nan")]]}, same | {"sharpe": [[1.0, float("inf")]]}) == 0
