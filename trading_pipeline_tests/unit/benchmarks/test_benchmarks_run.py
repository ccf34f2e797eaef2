"""Every benchmark runs, on a tiny market: what it measures is for `make bench` to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from benchmarks import dip_causes, features, imports, ingest, make_run, orchestration, read_back, screener, workbench
from benchmarks.__main__ import MODULES, ON_REQUEST, main
from benchmarks.random_market import random_market, write_bars_file
from benchmarks.report import Row, Target
from trading_pipeline.tables import INDICATORS
from trading_pipeline.world import World

TICKERS, SESSIONS = 6, 40


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with workbench.workbench() as folder:
        yield folder


def test_a_file_is_ingested_beside_the_row_by_row_upsert(folder):
    speed, copied, memory = ingest.measure(folder, TICKERS, SESSIONS, sliced=50)
    assert speed.ratio > 0 and speed.target == Target(20, " x", at_least=True)
    assert copied.ratio > 0 and copied.met is None
    assert 0 < memory.value < 2.5 and memory.met


def test_every_row_of_the_file_is_served_or_an_issue(folder):
    file = ingest.prepare(folder, TICKERS, SESSIONS)
    told = ingest.run_in_this_process(folder, file)
    assert told["rows"] == pl.read_parquet(file).height == sum(told["served"].values())


def test_bars_are_read_back_adjusted_beside_a_plain_file(folder):
    rows = read_back.measure(folder, TICKERS, SESSIONS, repeats=1)
    assert [row.ratio > 0 for row in rows] == [True] * 3


def test_indicators_regime_and_dips_in_one_call_and_one_by_one(folder):
    rows = features.measure(folder, TICKERS, SESSIONS, sampled=2)
    assert len(rows) == 5 and rows[0].ratio > 0 and rows[1].value > 0


def test_the_screener_in_one_call_and_one_by_one(folder):
    ratio, time_of_one_call = screener.measure(folder, TICKERS, SESSIONS, sampled=2)
    assert ratio.ratio > 0 and time_of_one_call.value > 0 and time_of_one_call.met


def test_dagster_and_plain_calls_leave_the_same_rows(folder):
    """Where they did not, `measure` would raise: the plain calls are the baseline of what Dagster costs."""
    (row,) = orchestration.measure(folder, sessions=2, tickers=20)
    assert row.value is not None and row.ratio > 0


def test_rows_that_differ_between_the_two_are_noticed(folder):
    days = orchestration.sessions_up_to_the_end(2)
    for side in orchestration.SIDES:
        orchestration.without_dagster(orchestration.settings_of(folder, side, 20), days)
    orchestration.require_the_same_rows(folder, 2, 20)
    world = World(orchestration.settings_of(folder, "plain", 20))
    world.lake.replace("us", INDICATORS, days[:1], INDICATORS.empty())
    world.close()
    with pytest.raises(RuntimeError, match="indicators differs"):
        orchestration.require_the_same_rows(folder, 2, 20)


def test_causes_of_dips_are_compared_with_the_planted_ones(folder, capsys):
    """A small market of one seed: the shares it is judged by take several large ones."""
    rows = dip_causes.measure(folder, seeds=[7], tickers=40, judged=40)
    shown = capsys.readouterr().out
    assert [name for name in dip_causes.CAUSES if name not in shown] == []
    assert {row.target for row in rows} == {Target(0.9, " x", at_least=True)}
    assert all(0 < float(row.ours) <= 1 and 0 < float(row.baseline) <= 1 for row in rows)


def test_the_confusion_matrix_counts_planted_against_found():
    both = pl.DataFrame({"planted": ["macro", "macro", "company"], "found": ["macro", "unknown", "company"]})
    ceilings = [pl.DataFrame({"cause": ["macro", "company"], "planted": [2, 1], "ceiling": [1.0, 1.0]})] * 2
    limits = dip_causes.pooled(ceilings)
    assert limits.rows() == [("macro", 4, 4.0), ("company", 2, 2.0)]
    columns = [list(column.cells) for column in dip_causes.confusion(both, limits).columns]
    lines = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
    assert lines["macro"] == ("1", "0", "0", "0", "0", "1", "2", "0.500", "1.000")
    assert lines["company"][-3:] == ("1", "1.000", "1.000")
    assert lines["sector"][-3:] == ("0", "-", "-")


def test_the_code_location_is_imported_and_loaded(folder):
    rows = imports.measure(folder, repeats=1)
    assert [row.what for row in rows] == ["code location imported", "code location loaded"]
    assert all(row.ratio > 1 for row in rows)


def test_the_table_says_what_was_met_and_what_the_baseline_was(monkeypatch, tmp_path, capsys):
    rows = [
        Row("fast", "1 s", "30 s", 30.0, "Baseline: the usual way.", Target(20, " x", at_least=True)),
        Row("slow", "4 s", "1 s", 4.0, "Baseline: another.", Target(3, " x")),
        Row("known", "2 GB", "-", None, "Baseline: another."),
    ]
    monkeypatch.setattr(features, "measure", lambda folder: rows)
    main(["indicators", "--json", str(tmp_path / "found.json")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("│")[-2].strip() for line in lines if line.startswith("│")] == ["yes", "no", "-"]
    assert any("[1] Baseline: the usual way." in line for line in lines)
    assert sum("[2]" in line for line in lines) == 3
    assert "Load average" in lines[-1]
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["met"] for row in found["rows"]] == [True, False, None]


def test_an_unknown_name_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert [name for name in MODULES if name not in complaint] == []


def test_make_run_is_measured_only_when_asked_for(folder, monkeypatch):
    """The real thing takes minutes; here `make` is one that only notes how it was called."""
    assert ON_REQUEST == ("run",)
    called = []
    monkeypatch.setattr(make_run.subprocess, "run", lambda command, **how: called.append((command, how["env"])))
    monkeypatch.setattr(make_run, "PROJECT", folder)
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone@production/name")
    cold, again = make_run.measure(folder)
    assert [command[-1] for command, _ in called] == ["run", "run"]
    assert "DATABASE_URL" not in called[0][1]
    assert called[0][1]["STATE_DIR"] == str(folder / "run")
    assert cold.met and again.met


def test_make_run_is_refused_beside_an_env_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://someone@production/name")
    monkeypatch.setattr(make_run, "PROJECT", tmp_path)
    with pytest.raises(SystemExit, match="move it away"):
        make_run.measure(tmp_path)


def test_the_file_of_a_random_market_says_what_its_frames_say(tmp_path):
    """Undoing its splits on receipt gives back the prices as traded."""
    market = random_market(4, 300, seed=7)
    write_bars_file(market, tmp_path / "bars.parquet")
    told = pl.read_parquet(tmp_path / "bars.parquet")
    splits = told.filter(pl.col("stock_splits") > 0)
    assert splits.height == market.actions.filter(pl.col("kind") == "split").height
    last = told.group_by("ticker").agg(pl.all().sort_by("date").last())
    traded = market.bars.join(last, left_on=["ticker", "session"], right_on=["ticker", "date"])
    assert traded.height == 4
    assert traded["close"].to_list() == pytest.approx(traded["close_right"].to_list())
