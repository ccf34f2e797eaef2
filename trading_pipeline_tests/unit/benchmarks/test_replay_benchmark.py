"""The benchmark of a replay runs, on a tiny day."""

from __future__ import annotations

from benchmarks import replay
from benchmarks.report import Target
from benchmarks.workbench import workbench


def test_a_day_is_replayed_and_commits_are_measured_beside_plain_inserts():
    with workbench() as folder:
        whole, slowest, commit = replay.measure(folder, names=6, ticks=60, commits=3)
    assert whole.target == Target(60, " s")
    assert whole.met
    assert slowest.value is not None
    assert commit.ratio is not None
    assert commit.ratio > 0
