"""The marts, built by dbt over a real warehouse through the Dagster asset: their rows, lineage and checks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.assets import backtests, marts
from trading_pipeline.assets.common import WORLD
from trading_pipeline.markets import ASX, US
from trading_pipeline.settings import Settings
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables import (
    BACKTESTS,
    BAR_ISSUES,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    MACRO_SERIES,
    MARKET_DATA,
    MARKET_REGIME,
    MONTE_CARLO,
    NEWS,
    SCREENER_SCORES,
    STRATEGY_COMPARISON,
    UNIVERSE_MEMBERS,
    WALK_FORWARD,
    Table,
)
from trading_pipeline.world import World

MONDAY, TUESDAY = date(2024, 7, 1), date(2024, 7, 2)
EVENING = datetime(2024, 7, 2, 22, 0, tzinfo=UTC)
REVISED = datetime(2024, 7, 3, 9, 0, tzinfo=UTC)


def rows(table: Table, *given: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{name: row.get(name) for name in table.names} for row in given], schema=table.schema)


def bar(ticker: str, day: date, close: float, quality: str = "good", market: str = "us") -> dict[str, Any]:
    return {
        "ticker": ticker,
        "date": day,
        "open": close,
        "high": close,
        "low": close,
        "close": close,
        "volume": 1000.0,
        "source": "simulated",
        "data_quality": quality,
        "instrument_id": f"{market}:{ticker}",
        "metadata": "{}",
    }


def member(ticker: str, day: date, universe: str, sector: str | None = "Energy", market: str = "us") -> dict[str, Any]:
    return {
        "session": day,
        "universe": universe,
        "instrument_id": f"{market}:{ticker}",
        "ticker": ticker,
        "sector": sector,
        "source": "simulated",
    }


def regime(day: date, environment: str) -> dict[str, Any]:
    return {
        "session": day,
        "regime": "Bull" if environment < "C" else "Bear",
        "environment": environment,
        "score": 4,
        "benchmark": "SPY",
        "breadth_50": 0.6,
        "breadth_200": 0.5,
        "new_highs": 7,
        "new_lows": 9,
        "volatility": 0.15,
        "volatility_source": "realised",
        "members": 3,
        "reasons": "because",
    }


def dip(
    ticker: str,
    day: date,
    price: float,
    parts: tuple[float, float, float] | None = None,
    market: str = "us",
    **told: Any,
) -> Any:
    depth = (1 - price / 100) * 100
    return {
        "session": day,
        "instrument_id": f"{market}:{ticker}",
        "ticker": ticker,
        "universes": "SPX500",
        "sector": "Energy",
        "price": price,
        "high_252": 100.0,
        "dip_pct": depth,
        "threshold_pct": max(threshold for threshold in (5.0, 10.0, 15.0) if depth >= threshold),
        "sessions_since_high": 30,
        "drawdown_percentile": 0.9,
        "fall": sum(parts) if parts else None,
        "market_part": parts[0] if parts else None,
        "sector_part": parts[1] if parts else None,
        "company_part": parts[2] if parts else None,
        "environment": "B",
        "data_quality": "good",
        **CAUSE,
        **told,
    }


CAUSE = {"on_desk": False, "cause": "unknown", "cause_share": 0.7, "evidence": "no news", "news_ids": ""}


def score(ticker: str, day: date, total: float | None, verdict: str, **told: Any) -> dict[str, Any]:
    components = ("fundamental", "technical", "relative_strength", "sector_score", "catalyst")
    weights = ("fundamental", "technical", "relative_strength", "sector", "catalyst")
    return {
        "session": day,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "universes": "SPX500",
        "asset_type": "stock",
        "sector": "Energy",
        "price": 90.0,
        "gates_passed": not told.get("gates_failed"),
        "gates_failed": "",
        "gates": "liquidity",
        **dict.fromkeys(components, total),
        **{f"weight_{name}": 0.2 for name in weights},
        "confidence": 0.8 if total is not None else 0.1,
        "total": total,
        "grade": None if total is None else "B",
        "verdict": verdict,
        "flags": "",
        "size_bucket": "large",
        "reasons": "because",
        "environment": "B",
        "rules_version": "1",
        "data_quality": "good",
        **told,
    }


def words(ticker: str, day: date, action: str, cause: str, size: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    return {
        "session": day,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "dip_pct": 20.0,
        "cause": cause,
        "action": action,
        "action_reasons": "it may",
        "size_low": size[0],
        "size_high": size[1],
        "size_low_amount": size[0] * 100_000,
        "size_high_amount": size[1] * 100_000,
        "why": "The market fell.",
        "outlook": "temporary",
        "play": "Buy in parts.",
        "risks": "It falls on.",
        "source": "rules",
        "prompt_hash": "0",
        "inputs": "{}",
    }


def report(ticker: str, day: date, on: date | None, **told: Any) -> dict[str, Any]:
    return {
        "session": day,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "next_report_date": on,
        "next_timing": "amc",
        "reports": 8,
        "beat_rate": 0.75,
        "average_absolute_move": 0.05,
        **told,
    }


def fill_reference(warehouse: Warehouse) -> None:
    """What is known of the companies on Tuesday, and an article of Monday."""
    snapshot = {
        "session": TUESDAY,
        "instrument_id": "us:AAA",
        "ticker": "AAA",
        "snapshot_session": MONDAY,
        "age": 1,
        "asset_type": "stock",
        "name": "Alpha Oil",
        "industry": "Drilling",
        "currency": "USD",
        "provider": "simulated",
        "data_quality": "good",
        "rules": "",
    }
    warehouse.replace("us", FUNDAMENTALS, [TUESDAY], rows(FUNDAMENTALS, snapshot))
    calendar = rows(
        EARNINGS_CALENDAR,
        report("AAA", TUESDAY, date(2024, 7, 5), disagreement="yahoo: 2024-07-08 bmo"),
        report("BBB", TUESDAY, date(2024, 7, 14), last_report_date=MONDAY, last_report_session=TUESDAY),
        report("CCC", TUESDAY, date(2024, 7, 15)),
        report("DDD", TUESDAY, None),
        report("ZZZ", TUESDAY, date(2024, 7, 3)),
    )
    warehouse.replace("us", EARNINGS_CALENDAR, [TUESDAY], calendar)
    article = {
        "session": MONDAY,
        "instrument_id": "us:AAA",
        "ticker": "AAA",
        "article_id": "a1",
        "published_at": datetime(2024, 7, 1, 14, 0, tzinfo=UTC),
        "title": "Alpha Oil pumps",
        "scope": "company",
        "sentiment": 0.2,
        "sentiment_source": "lexicon",
        "copies": 1,
        "providers": "simulated",
        "available_at": datetime(2024, 7, 1, 14, 5, tzinfo=UTC),
        "known_at": datetime(2024, 7, 1, 15, 0, tzinfo=UTC),
    }
    warehouse.replace("us", NEWS, [MONDAY], rows(NEWS, article))
    level = {"session": TUESDAY, "series": "volatility_index", "instrument_id": "us:^VIX", "ticker": "^VIX"}
    warehouse.replace("us", MACRO_SERIES, [TUESDAY], rows(MACRO_SERIES, {**level, "value": 14.2}))


def fill_decisions(warehouse: Warehouse, at: datetime) -> None:
    """The verdicts of both sessions and the words on AAA's dip."""
    scores = rows(
        SCREENER_SCORES,
        score("DDD", MONDAY, 90.0, "Strong Buy"),
        score("AAA", TUESDAY, 66.0, "Buy", sector_percentile=100.0),
        score("BBB", TUESDAY, 80.0, "Avoid", gates_failed="liquidity"),
        score("CCC", TUESDAY, None, "No verdict"),
        score("DDD", TUESDAY, 66.5, "Buy"),
    )
    warehouse.publish("us", SCREENER_SCORES, [MONDAY, TUESDAY], scores, at)
    told = rows(DIP_ANALYSIS, words("AAA", TUESDAY, "buy", "macro", (0.02, 0.04)))
    warehouse.publish("us", DIP_ANALYSIS, [TUESDAY], told, at)


def result(
    configuration: str, day: date, deflated: float | None, sharpe: float | None, gain: float = 0.1, **told: Any
) -> dict[str, Any]:
    return {
        "session": day,
        "configuration": configuration,
        "title": configuration.title(),
        "strategy": "momentum",
        "universe": "SPX500",
        "parameters": "{}",
        "sized_by": "equal_weight",
        "configuration_hash": "a" * 64,
        "code_version": "1",
        "seed": 0,
        "first_session": date(2020, 1, 2),
        "capital": 1000.0,
        "equity": 1000.0 * (1 + gain),
        "debits": 1.0,
        "fees": 2.0,
        "slippage": 4.0,
        "total_return": gain,
        "deflated_sharpe": deflated,
        "sharpe": sharpe,
        "maximum_drawdown": -0.2,
        "trials": 3,
        "coverage": 0.99,
        "least_coverage": 0.9,
        **told,
    }


def window(configuration: str, number: int, sharpe: float | None, gain: float) -> dict[str, Any]:
    return {
        "configuration": configuration,
        "window": number,
        "train_first": date(2022, 1, 3),
        "train_last": date(2022, 12, 30),
        "test_first": date(2023, number, 2),
        "test_last": date(2023, number, 27),
        "parameters": "{}",
        "tried": 3,
        "train_sharpe": 2.0,
        "test_sharpe": sharpe,
        "test_return": gain,
    }


def simulation(configuration: str, measure: str, day: date, mean: float, p05: float | None) -> dict[str, Any]:
    values = {} if p05 is None else {f"p{level:02d}": p05 + level / 1000 - 0.005 for level in (5, 25, 50, 75, 95)}
    told = {"method": "blocks", "measure": measure, "last_session": day, "paths": 100, "seed": 0, "mean": mean}
    return {"configuration": configuration, **told, **values}


def fill_backtests(warehouse: Warehouse) -> None:
    """Four configurations in New York, of which one was not computed again on Tuesday, and one in Sydney."""
    monday = rows(BACKTESTS, result("alpha", MONDAY, 0.99, 3.0), result("delta", MONDAY, None, None, 0.0))
    warehouse.publish("us", BACKTESTS, [MONDAY], monday, EVENING)
    warned = {"watermark": "Survivorship: few are known.", "revised_from": MONDAY}
    tuesday = rows(
        BACKTESTS,
        result("alpha", TUESDAY, 0.5, 1.0),
        result("beta", TUESDAY, 0.9, 1.5, -0.1, **warned),
        result("gamma", TUESDAY, 0.9, 2.0),
    )
    warehouse.publish("us", BACKTESTS, [TUESDAY], tuesday, EVENING)
    warehouse.publish("asx", BACKTESTS, [MONDAY], rows(BACKTESTS, result("alpha", MONDAY, 0.1, 0.2)), EVENING)
    windows = (window("gamma", 1, 1.0, 0.1), window("gamma", 2, 3.0, 0.2), window("gamma", 3, None, 0.0))
    tested = rows(WALK_FORWARD, *windows, window("gamma", 4, -1.0, -0.1))
    warehouse.replace_result("us", WALK_FORWARD, {"configuration": "gamma"}, tested)
    for name, day in (("alpha", MONDAY), ("gamma", TUESDAY)):
        drawn = rows(
            MONTE_CARLO,
            simulation(name, "loss", day, 0.25, None),
            simulation(name, "maximum_drawdown", day, -0.3, -0.4),
            simulation(name, "final_return", day, 0.1, -0.05),
        )
        warehouse.replace_result("us", MONTE_CARLO, {"configuration": name}, drawn)
    pairs = [("alpha", "beta", 0.1), ("alpha", "gamma", 0.8), ("beta", "gamma", -0.2)]
    compared = rows(
        STRATEGY_COMPARISON,
        *(
            {"configuration": one, "other": other, "last_session": TUESDAY, "sessions": 9, "correlation": correlation}
            for one, other, correlation in pairs
        ),
    )
    warehouse.replace_result("us", STRATEGY_COMPARISON, {}, compared)


def fill(warehouse: Warehouse) -> None:
    """Two sessions of a small market in New York, one in Sydney; AAA's dip is revised the morning after."""
    both = [MONDAY, TUESDAY]
    warehouse.replace(
        "us",
        MARKET_DATA,
        both,
        rows(
            MARKET_DATA,
            *(bar(ticker, MONDAY, 90.0) for ticker in ("AAA", "BBB", "CCC")),
            bar("AAA", TUESDAY, 80.0),
            bar("BBB", TUESDAY, 88.0, "suspect"),
            bar("CCC", TUESDAY, 9000.0, "bad"),
            bar("DDD", TUESDAY, 94.0),
        ),
    )
    warehouse.replace(
        "us",
        UNIVERSE_MEMBERS,
        both,
        rows(
            UNIVERSE_MEMBERS,
            *(member(ticker, day, "SPX500") for ticker in ("AAA", "BBB", "CCC", "DDD") for day in both),
            member("AAA", TUESDAY, "NASDAQ100"),
        ),
    )
    warehouse.replace(
        "us",
        BAR_ISSUES,
        both,
        rows(
            BAR_ISSUES,
            *(
                {
                    "session": TUESDAY,
                    "instrument_id": f"us:{ticker}",
                    "ticker": ticker,
                    "bar_session": TUESDAY,
                    "rule": rule,
                    "severity": severity,
                    "detail": "seen",
                }
                for ticker, rule, severity in (
                    ("BBB", "frozen_bar", "suspect"),
                    ("CCC", "unit_error", "bad"),
                    ("EEE", "unit_error", "rejected"),
                )
            ),
        ),
    )
    warehouse.publish(
        "us", MARKET_REGIME, both, rows(MARKET_REGIME, regime(MONDAY, "A"), regime(TUESDAY, "B")), EVENING
    )
    tuesday = [
        dip("BBB", TUESDAY, 88.0, (-0.10, -0.02, -0.01)),
        dip("DDD", TUESDAY, 94.0),
    ]
    early = rows(DIP_OPPORTUNITIES, dip("AAA", MONDAY, 90.0), dip("AAA", TUESDAY, 81.0, (0.0, -0.1, -0.1)), *tuesday)
    warehouse.publish("us", DIP_OPPORTUNITIES, both, early, EVENING)
    verdict = {"on_desk": True, "cause": "macro", "verdict": "Buy", "total": 66.0, "grade": "B", "gates_failed": ""}
    revised = dip("AAA", TUESDAY, 80.0, (0.05, -0.1, -0.2), **verdict)
    late = rows(DIP_OPPORTUNITIES, dip("AAA", MONDAY, 90.0), revised, *tuesday)
    warehouse.publish("us", DIP_OPPORTUNITIES, both, late, REVISED)
    fill_reference(warehouse)
    fill_decisions(warehouse, EVENING)
    fill_backtests(warehouse)

    # Sydney was judged on Tuesday and had no dip then, only on Monday: its board is empty, not a day old.
    warehouse.replace("asx", MARKET_DATA, [MONDAY], rows(MARKET_DATA, bar("BHP.AX", MONDAY, 90.0, market="asx")))
    warehouse.replace(
        "asx", UNIVERSE_MEMBERS, [MONDAY], rows(UNIVERSE_MEMBERS, member("BHP.AX", MONDAY, "ASX200", None, "asx"))
    )
    regimes = rows(MARKET_REGIME, regime(MONDAY, "C"), regime(TUESDAY, "D"))
    warehouse.publish("asx", MARKET_REGIME, both, regimes, EVENING)
    dips = rows(DIP_OPPORTUNITIES, dip("BHP.AX", MONDAY, 90.0, market="asx"))
    warehouse.publish("asx", DIP_OPPORTUNITIES, both, dips, EVENING)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where dbt writes in these tests: outside the source tree."""
    folder = tmp_path_factory.mktemp("dbt-target")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DBT_TARGET_PATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def asset(target: Path) -> dg.AssetsDefinition:
    """The dbt asset of both markets."""
    [asset] = marts.build([US, ASX])
    return asset


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any) -> Settings:
    """A world of its own on the run's server."""
    url = embedded_server.url(f"test_{uuid.uuid4().hex[:12]}")
    return Settings(state_dir=tmp_path_factory.mktemp("state"), database_url=url, _env_file=None)


@pytest.fixture(scope="module")
def world(settings: Settings) -> Iterator[World]:
    """The world whose warehouse was filled."""
    world = World(settings)
    fill(world.warehouse)
    yield world
    world.close()


def build(asset: dg.AssetsDefinition, world: World) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset],
        resources={WORLD: world},
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
    )


@pytest.fixture(scope="module")
def built(asset: dg.AssetsDefinition, world: World) -> dg.ExecuteInProcessResult:
    """One run of every model and test."""
    return build(asset, world)


def table(world: World, name: str, order: str) -> list[dict[str, Any]]:
    return world.warehouse.query(f"SELECT * FROM marts.{name} ORDER BY {order}").to_dicts()


def test_a_run_builds_every_model_and_every_dbt_test_is_a_check_that_passes(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition
) -> None:
    assert built.success
    checks = {(check.asset_key, check.check_name): check for check in built.get_asset_check_evaluations()}
    assert {(spec.asset_key, spec.name) for spec in asset.check_specs} == set(checks)
    assert [check for check in checks.values() if not check.passed] == []
    marts = {"dip_board", "data_quality", "market_overview", "leaderboard", "earnings_this_week"}
    assert {key.path[-1] for key in asset.keys} >= {*marts, "strategy_leaderboard"}
    assert all(any(spec.asset_key == key for spec in asset.check_specs) for key in asset.keys)


def test_the_dip_board_shows_the_latest_version_of_the_latest_session(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    board = table(world, "dip_board", "market, dip_rank")
    assert [(row["market"], row["dip_rank"], row["ticker"], row["price"]) for row in board] == [
        ("us", 1, "AAA", 80.0),
        ("us", 2, "BBB", 88.0),
        ("us", 3, "DDD", 94.0),
    ]
    assert [row["main_cause"] for row in board] == ["company", "market", None]
    assert [row["universes"] for row in board] == ["NASDAQ100,SPX500", "SPX500", "SPX500"]
    assert {(row["environment"], row["regime"], row["session"]) for row in board} == {("B", "Bull", TUESDAY)}


def test_the_dip_board_says_when_a_dip_was_first_published(built: dg.ExecuteInProcessResult, world: World) -> None:
    revised, untouched, _ = table(world, "dip_board", "dip_rank")
    assert (revised["versions"], revised["first_published_at"], revised["computed_at"]) == (2, EVENING, REVISED)
    assert (untouched["versions"], untouched["first_published_at"], untouched["computed_at"]) == (1, EVENING, EVENING)


def test_the_dip_board_says_why_and_what_to_do_where_the_dip_is_on_the_desk(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    on_desk, off_desk, _ = table(world, "dip_board", "dip_rank")
    assert (on_desk["on_desk"], on_desk["cause"], on_desk["verdict"], on_desk["grade"]) == (True, "macro", "Buy", "B")
    assert (on_desk["action"], on_desk["source"], on_desk["play"]) == ("buy", "rules", "Buy in parts.")
    assert (on_desk["size_low"], on_desk["size_high_amount"]) == (0.02, 4000.0)
    assert (off_desk["on_desk"], off_desk["cause"]) == (False, "unknown")
    assert (off_desk["action"], off_desk["why"]) == (None, None)


def test_the_leaderboard_ranks_verdicts_before_totals(built: dg.ExecuteInProcessResult, world: World) -> None:
    board = table(world, "leaderboard", "leader_rank")
    assert [(row["leader_rank"], row["ticker"], row["verdict"]) for row in board] == [
        (1, "DDD", "Buy"),
        (2, "AAA", "Buy"),
        (3, "BBB", "Avoid"),
        (4, "CCC", "No verdict"),
    ]
    assert {row["session"] for row in board} == {TUESDAY}
    known = board[1]
    assert (known["name"], known["industry"], known["next_report_date"]) == ("Alpha Oil", "Drilling", date(2024, 7, 5))
    assert (known["dip_pct"], known["sector_percentile"], known["environment"]) == (pytest.approx(20.0), 100.0, "B")
    assert (board[0]["name"], board[0]["next_report_date"], board[2]["gates_failed"]) == (None, None, "liquidity")


def test_earnings_this_week_end_with_next_weeks_sunday_and_are_of_members(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    reports = table(world, "earnings_this_week", "next_report_date")
    assert [(row["ticker"], row["week"]) for row in reports] == [("AAA", "this week"), ("BBB", "next week")]
    first = reports[0]
    assert (first["verdict"], first["beat_rate"], first["disagreement"]) == ("Buy", 0.75, "yahoo: 2024-07-08 bmo")


def test_strategies_are_ranked_by_deflated_sharpe_then_sharpe_of_their_latest_result(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    """Alpha was better a day ago; delta was not computed since, and traded nothing."""
    board = table(world, "strategy_leaderboard", "market, strategy_rank")
    assert [(row["market"], row["strategy_rank"], row["configuration"], row["session"]) for row in board] == [
        ("asx", 1, "alpha", MONDAY),
        ("us", 1, "gamma", TUESDAY),
        ("us", 2, "beta", TUESDAY),
        ("us", 3, "alpha", TUESDAY),
        ("us", 4, "delta", MONDAY),
    ]
    assert [row["is_current"] for row in board] == [True, True, True, True, False]
    warned = board[2]
    assert (warned["watermark"], warned["revised_from"]) == ("Survivorship: few are known.", MONDAY)
    assert (warned["costs"], warned["total_return"], warned["trials"]) == (7.0, -0.1, 3)


def test_a_strategy_is_shown_with_what_it_came_to_out_of_sample_and_might_have_come_to(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    gamma, _, alpha, delta = table(world, "strategy_leaderboard WHERE market = 'us'", "strategy_rank")
    # A window in which nothing was traded has no Sharpe ratio, and no profit.
    assert (gamma["walk_forward_windows"], gamma["walk_forward_mean_train_sharpe"]) == (4, 2.0)
    assert (gamma["walk_forward_mean_sharpe"], gamma["walk_forward_median_sharpe"]) == (1.0, 1.0)
    assert (gamma["walk_forward_profitable_share"], gamma["walk_forward_last_session"]) == (0.5, date(2023, 4, 27))
    assert (gamma["probability_of_loss"], gamma["drawdown_p05"], gamma["final_return_p05"]) == (0.25, -0.4, -0.05)
    assert (gamma["nearest_configuration"], gamma["nearest_correlation"]) == ("alpha", 0.8)
    # Alpha's paths resample its result of the day before.
    assert (alpha["probability_of_loss"], alpha["drawdown_p05"]) == (None, None)
    assert (alpha["nearest_configuration"], delta["nearest_configuration"]) == ("gamma", None)
    assert (delta["walk_forward_windows"], delta["walk_forward_mean_sharpe"]) == (0, None)


def test_data_quality_counts_bars_issues_and_coverage_of_a_session(
    built: dg.ExecuteInProcessResult, world: World
) -> None:
    sydney, monday, tuesday = table(world, "data_quality", "market, session")
    assert (sydney["market"], sydney["bars"], float(sydney["coverage"])) == ("asx", 1, 1.0)
    assert (monday["bars"], monday["issues"], json.loads(monday["issues_by_rule"])) == (3, 0, {})
    assert float(monday["coverage"]) == 0.75
    quality = [tuesday[f"{name}_bars"] for name in ("good", "suspect", "bad")]
    assert (tuesday["bars"], quality) == (4, [2, 1, 1])
    severity = [tuesday[f"{name}_issues"] for name in ("suspect", "bad", "rejected")]
    assert (tuesday["issues"], severity) == (3, [1, 1, 1])
    assert json.loads(tuesday["issues_by_rule"]) == {"frozen_bar": 1, "unit_error": 2}
    # AAA is in two universes and counts once; CCC's bar is bad and does not count.
    assert (tuesday["members"], tuesday["members_with_bar"], float(tuesday["coverage"])) == (4, 3, 0.75)


def test_the_overview_joins_each_session_with_its_dips(built: dg.ExecuteInProcessResult, world: World) -> None:
    sydney_monday, sydney_tuesday, monday, tuesday = table(world, "market_overview", "market, session")
    assert [(row["market"], row["dips"]) for row in (sydney_monday, sydney_tuesday)] == [("asx", 1), ("asx", 0)]
    assert json.loads(sydney_tuesday["dips_by_threshold"]) == {}
    assert (monday["dips"], monday["previous_environment"]) == (1, None)
    assert (tuesday["environment"], tuesday["previous_environment"]) == ("B", "A")
    assert tuesday["net_new_highs"] == -2
    assert json.loads(tuesday["dips_by_threshold"]) == {"5": 3, "10": 2, "15": 1}
    assert tuesday["deepest_dip_pct"] == pytest.approx(20.0)
    assert tuesday["median_dip_pct"] == pytest.approx(12.0)


def test_a_second_run_gives_the_same_marts(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition, world: World
) -> None:
    names = {
        "dip_board": "market, dip_rank",
        "data_quality": "market, session",
        "market_overview": "market, session",
        "leaderboard": "market, leader_rank",
        "earnings_this_week": "market, instrument_id",
        "strategy_leaderboard": "market, strategy_rank",
    }
    before = {name: table(world, name, order) for name, order in names.items()}
    assert build(asset, world).success
    assert {name: table(world, name, order) for name, order in names.items()} == before


def test_a_run_of_the_backtest_models_alone_leaves_the_others_alone(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition, world: World
) -> None:
    """Their tests come along: what is built of a subset is checked as what is built whole."""
    mine = {spec.key for spec in asset.specs if backtests.GROUP in spec.tags}
    chosen = dg.materialize(
        [asset],
        resources={WORLD: world},
        instance=dg.DagsterInstance.ephemeral(),
        selection=dg.AssetSelection.assets(*mine),
    )
    assert {event.asset_key for event in chosen.get_asset_materialization_events()} == mine
    looked_at = {(check.asset_key, check.check_name) for check in chosen.get_asset_check_evaluations()}
    assert looked_at == {(spec.asset_key, spec.name) for spec in asset.check_specs if spec.asset_key in mine}


def test_a_dip_above_its_high_and_one_without_a_bar_fail_their_checks(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition, world: World
) -> None:
    wrong = {**dip("DDD", TUESDAY, 94.0), "price": 101.0}
    absent = dip("ZZZ", TUESDAY, 70.0)
    dips = rows(DIP_OPPORTUNITIES, wrong, absent)
    world.warehouse.publish("us", DIP_OPPORTUNITIES, [TUESDAY], dips, datetime(2024, 7, 3, 10, 0, tzinfo=UTC))

    failed = {check.check_name for check in build(asset, world).get_asset_check_evaluations() if not check.passed}

    assert {"dips_are_below_their_high", "dips_have_a_usable_bar"} <= failed
    assert any(name.startswith("relationships_stg_dip_opportunities") for name in failed)


def test_what_contradicts_itself_fails_its_check(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition, world: World
) -> None:
    later = datetime(2024, 7, 3, 11, 0, tzinfo=UTC)
    faulty = {**score("AAA", TUESDAY, 66.0, "Buy", gates_failed="liquidity"), "weight_sector": 0.4}
    world.warehouse.publish("us", SCREENER_SCORES, [TUESDAY], rows(SCREENER_SCORES, faulty), later)
    unfit = [words("BBB", TUESDAY, "wait", "sector", (0.01, 0.02)), words("AAA", TUESDAY, "perhaps", "weather")]
    world.warehouse.publish("us", DIP_ANALYSIS, [TUESDAY], rows(DIP_ANALYSIS, *unfit), later)
    early = report("AAA", TUESDAY, date(2024, 7, 5), last_report_session=date(2024, 7, 3), beat_rate=1.5)
    world.warehouse.replace("us", EARNINGS_CALENDAR, [TUESDAY], rows(EARNINGS_CALENDAR, early))

    failed = {check.check_name for check in build(asset, world).get_asset_check_evaluations() if not check.passed}

    assert {
        "weights_add_up_to_one",
        "verdicts_follow_totals_and_gates",
        "analysed_dips_are_on_the_desk",
        "sizes_follow_the_action",
        "results_were_out_by_the_session",
    } <= failed
    for column in ("stg_dip_analysis_action", "stg_dip_analysis_cause", "stg_earnings_calendar_beat_rate"):
        assert any(column in name for name in failed), column


def test_backtests_that_contradict_themselves_fail_their_checks(
    built: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition, world: World
) -> None:
    later = datetime(2024, 7, 3, 12, 0, tzinfo=UTC)
    unearned = result("beta", TUESDAY, 1.2, 1.5, total_return=0.5)
    others = (result("alpha", TUESDAY, 0.5, 1.0), result("gamma", TUESDAY, 0.9, 2.0, maximum_drawdown=0.2))
    world.warehouse.publish("us", BACKTESTS, [TUESDAY], rows(BACKTESTS, unearned, *others), later)
    early = {**window("gamma", 1, 1.0, 0.1), "train_last": date(2023, 1, 2)}
    world.warehouse.replace_result("us", WALK_FORWARD, {"configuration": "gamma"}, rows(WALK_FORWARD, early))
    crossed = {**simulation("gamma", "final_return", TUESDAY, 0.1, -0.05), "p50": 9.0}
    drawn = rows(MONTE_CARLO, crossed, simulation("gamma", "loss", TUESDAY, 1.5, None))
    world.warehouse.replace_result("us", MONTE_CARLO, {"configuration": "gamma"}, drawn)
    pair = {"configuration": "alpha", "other": "beta", "last_session": TUESDAY, "sessions": 9, "correlation": -1.5}
    world.warehouse.replace_result("us", STRATEGY_COMPARISON, {}, rows(STRATEGY_COMPARISON, pair))

    failed = {check.check_name for check in build(asset, world).get_asset_check_evaluations() if not check.passed}

    assert {
        "backtests_return_what_they_earned",
        "walk_forward_tests_follow_their_training",
        "monte_carlo_quantiles_ascend",
    } <= failed
    for column in ("stg_backtests_deflated_sharpe", "stg_backtests_maximum_drawdown", "comparison_correlation"):
        assert any(column in name for name in failed), column


def test_models_stand_downstream_of_the_assets_of_every_market(asset: dg.AssetsDefinition) -> None:
    parents = {spec.key.path[-1]: {dep.asset_key.to_user_string() for dep in spec.deps} for spec in asset.specs}
    assert parents["stg_market_data"] == {"us/market_data", "asx/market_data"}
    assert parents["stg_market_regime"] == {"us/market_regime", "asx/market_regime"}
    assert parents["stg_dip_versions"] == {"us/dip_opportunities", "asx/dip_opportunities"}
    assert parents["stg_dip_analysis"] == {"us/dip_analysis", "asx/dip_analysis"}
    assert parents["stg_screener_scores"] == {"us/screener_scores", "asx/screener_scores"}
    assert parents["stg_backtests"] == {"us/backtests", "asx/backtests"}
    assert parents["market_overview"] == {"marts/stg_market_regime", "marts/stg_dip_opportunities"}
    assert {spec.group_name for spec in asset.specs} == {"marts"}


def test_every_source_is_a_table_of_the_warehouse(asset: dg.AssetsDefinition, target: Path, world: World) -> None:
    manifest = json.loads((target / "manifest.json").read_text())
    found = world.warehouse.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert {source["name"] for source in manifest["sources"].values()} <= set(found["table_name"])


def test_a_run_leaves_nothing_but_the_manifest_behind(built: dg.ExecuteInProcessResult, target: Path) -> None:
    assert {path.name for path in target.iterdir()} == {"manifest.json"}
