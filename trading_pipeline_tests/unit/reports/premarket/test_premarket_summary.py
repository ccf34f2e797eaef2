"""The premarket in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import polars as pl
from rich.console import Console

from trading_pipeline.reports.premarket import summary_renderable
from trading_pipeline_tests.premarkets import empty_inputs, premarket_inputs, silent


def printed(renderable, width: int = 200, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else None).print(
        renderable
    )
    return out.getvalue()


def line(shown: str, label: str) -> str:
    [found] = [each for each in shown.splitlines() if each.startswith(f"{label} ")]
    return found


def test_a_morning_is_eight_lines_with_the_surest_and_the_largest_first():
    inputs = premarket_inputs(taken="live")
    shown = printed(summary_renderable(inputs, page="/lake/premarket.html"))
    assert len(shown.strip().splitlines()) == 8
    longs = inputs.bias.filter(pl.col("bias") == "long").sort("confidence", descending=True)
    assert line(shown, "Long").split()[1] == longs["ticker"][0]
    assert f"{100 * longs['confidence'][0]:.0f}%" in line(shown, "Long")
    top = inputs.snapshots.sort("gap_pct", descending=True, nulls_last=True).row(0, named=True)
    assert line(shown, "Gaps up").split()[2:4] == [top["ticker"], f"+{top['gap_pct']:.2f}%,"]
    assert line(shown, "Page").endswith("/lake/premarket.html")
    assert "SIMULATED" in shown and "Rebuilt" not in shown


def test_a_rebuilt_morning_says_so_and_a_real_one_is_not_called_simulated():
    shown = printed(summary_renderable(premarket_inputs(world="real"), page=None))
    assert "Rebuilt later." in shown
    assert "SIMULATED" not in shown
    assert line(shown, "Page").endswith("none was written")


def test_nothing_known_and_nobody_prepared_read_well():
    inputs = premarket_inputs()
    quiet = printed(summary_renderable(replace(inputs, snapshots=silent(inputs.snapshots, 0.0)), page=None))
    assert "No watched name has traded this morning" in quiet
    assert line(quiet, "Gaps up").endswith("none")
    assert "Nobody was prepared" in printed(summary_renderable(empty_inputs(), page=None))


def test_text_that_looks_like_markup_is_printed_as_it_is():
    inputs = premarket_inputs()
    odd = replace(inputs, bias=inputs.bias.with_columns(ticker=pl.lit("[b]X[/]")),
                  snapshots=inputs.snapshots.with_columns(ticker=pl.lit("[b]X[/]")))  # fmt: skip
    assert "[b]X[/]" in printed(summary_renderable(odd, page="[red]here[/red]"), terminal=True)
