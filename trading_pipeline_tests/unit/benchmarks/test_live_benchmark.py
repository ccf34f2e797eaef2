"""The benchmark of the live session runs, on a tiny one; what it compares with is held equal by the features' tests."""

from __future__ import annotations

import numpy as np
import polars as pl

from benchmarks import live
from benchmarks.__main__ import MODULES
from benchmarks.report import Target


def test_live_ticks_are_measured_beside_recomputing_them(tmp_path):
    full, lean, *ticks = live.measure(tmp_path, names=6, ticks=40, every=10)
    assert full.ratio > 0 and full.target == Target(50, " x", at_least=True)
    assert lean.ratio > 0 and lean.met is None
    assert [row.what for row in ticks][-1] == "the slowest live tick of the day" and ticks[-1].met
    assert MODULES["live"] == "benchmarks.live"


def test_the_bare_aggregations_say_the_same_of_the_last_bar():
    minutes = live.Minutes.random(names=10, ticks=50)
    bars = pl.concat(minutes.bars)
    full, lean = live.recomputed(bars, minutes.snapshots), live.aggregated(bars)
    assert full["instrument_id"].equals(lean["instrument_id"])
    for name in ("mean", "sigma", "z_session", "z_rolling", "vwap"):
        ours, theirs = (frame[name].fill_null(np.nan).to_numpy() for frame in (full, lean))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=name)
