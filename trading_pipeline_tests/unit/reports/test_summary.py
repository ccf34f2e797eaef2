"""The end of a run, as a terminal or a pipe shows it."""

from __future__ import annotations

import io
from datetime import date

import polars as pl
from rich.console import Console, RenderableType

from trading_pipeline.reports.briefing import contributions
from trading_pipeline.reports.summary import TOP_DIPS, summary_renderable
from trading_pipeline_tests.briefings import briefing_inputs, dip_rows, quiet_inputs, regime_rows


def printed(renderable: RenderableType, width: int = 80, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else None).print(
        renderable
    )
    return out.getvalue()


def test_a_run_ends_with_regime_dips_quarantine_and_where_to_look():
    shown = printed(summary_renderable(briefing_inputs(), briefing="/lake/us/2024-07-05.html", ui_command="make ui"))
    assert "US (XNYS), Friday 5 July 2024" in shown
    assert "SIMULATED" in shown
    assert "Environment B, Bull: SPY is 8.3% above its 200-session average" in shown
    assert "- 3 distribution days in 25 sessions (-1)" in shown
    assert "Quarantine: 5 issues (1 rejected, 1 bad, 3 suspect)." in shown
    assert "- frozen_bar: 2 suspect, 2 tickers" in shown
    assert "/lake/us/2024-07-05.html" in shown
    assert "make ui" in shown


def test_the_deepest_dips_come_first_with_whole_numbers_even_in_80_columns():
    dips = contributions(dip_rows()).sort("dip_pct", descending=True)
    shown = printed(summary_renderable(briefing_inputs(), briefing=None))
    for dip in dips.head(TOP_DIPS).iter_rows(named=True):
        [line] = [line for line in shown.splitlines() if line.strip().startswith(dip["ticker"])]
        assert f"{dip['dip_pct']:.1f}%" in line
        assert f"{dip['price']:,.2f}" in line
        assert f"{abs(dip['company_part']) * 100:.1f}%" in line
    assert dips["ticker"][TOP_DIPS] not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_pipe_gets_plain_text_and_a_terminal_colours():
    assert "\x1b[" not in printed(summary_renderable(briefing_inputs(), briefing=None))
    assert "\x1b[" in printed(summary_renderable(briefing_inputs(), briefing=None), terminal=True)


def test_a_quiet_session_reads_well():
    shown = printed(summary_renderable(quiet_inputs(), briefing=None))
    assert "Dips: no member is 5% or more below its 52-week high." in shown
    assert "Quarantine: every bar passed every rule." in shown
    assert "none was written" in shown
    assert "SIMULATED" not in shown


def test_a_session_without_a_regime_says_so():
    inputs = briefing_inputs(regime=regime_rows("B").clear(), week=None)
    assert "No environment was published for this session." in printed(summary_renderable(inputs, briefing=None))


def test_text_that_looks_like_markup_is_printed_as_it_is():
    dips = dip_rows(3).with_columns(ticker=pl.lit("[b]X[/]"), session=pl.lit(date(2024, 7, 5)))
    shown = printed(summary_renderable(briefing_inputs(dips=dips), briefing="[red]here[/red]"), terminal=True)
    assert "[b]X[/]" in shown
    assert "[red]here[/red]" in shown
