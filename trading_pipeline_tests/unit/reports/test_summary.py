"""The end of a run, as a terminal or a pipe shows it."""

from __future__ import annotations

import io
import re
from datetime import date

import polars as pl
from rich.console import Console, RenderableType

from trading_pipeline.reports.briefing import contributions
from trading_pipeline.reports.summary import TOP_DIPS, TOP_LEADERS, summary_renderable
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
    assert max(map(len, shown.splitlines())) <= 80
    shown = shown[shown.index("Dips below the 52-week high") :]
    for dip in dips.head(TOP_DIPS).iter_rows(named=True):
        [line] = [line for line in shown.splitlines() if line.strip().startswith(dip["ticker"])]
        assert f"{dip['dip_pct']:.1f}%" in line
        assert f"{dip['price']:,.2f}" in line
        assert f"{abs(dip['company_part']) * 100:.1f}%" in line
    assert dips["ticker"][TOP_DIPS] not in shown


def test_leaders_and_the_desk_with_causes_actions_and_sizes_fit_80_columns():
    shown = printed(summary_renderable(briefing_inputs(), briefing=None))
    assert "Leaderboard: 53 members judged: 11 Strong Buy, 11 Buy" in shown
    assert re.search(r"1  TOPS +Strong Buy A +81\.6 +71 +88 +58 +45 +92", shown)
    assert len(re.findall(r"^ +\d+  [A-Z]{3,4} ", shown, flags=re.MULTILINE)) == TOP_LEADERS
    assert "Dip desk: 24 names 5% or more below the high. The first 10" in shown
    assert re.search(r"QAN +24\.5% +Strong Buy A +Company +Buy +2–4 %, \$2,000–4,000", shown)
    wide = dip_rows().with_columns(on_desk=pl.col("verdict").fill_null("") == "Avoid")
    assert re.search(
        r"QAR +23\.5% +Avoid D +\w+ +– +–", printed(summary_renderable(briefing_inputs(dips=wide), briefing=None))
    )


def test_a_pipe_gets_plain_text_and_a_terminal_colours():
    assert "\x1b[" not in printed(summary_renderable(briefing_inputs(), briefing=None))
    assert "\x1b[" in printed(summary_renderable(briefing_inputs(), briefing=None), terminal=True)


def test_a_quiet_session_reads_well():
    shown = printed(summary_renderable(quiet_inputs(), briefing=None))
    assert "Dips: no member is 5% or more below its 52-week high." in shown
    assert "Quarantine: every bar passed every rule." in shown
    assert "Leaderboard: no scores were published for this session." in shown
    assert "Dip desk: no name on it is 5% or more below its high." in shown
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
