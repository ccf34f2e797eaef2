"""Causes: prices and the calendar decide, headlines are believed where they fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.dip_desk import LOOKBACK, causes
from trading_pipeline.research.dip_desk.causes import CAUSES, REFERENCE_LOOKBACK
from trading_pipeline.research.dip_desk.paths import Paths
from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.indicators import indicators
from trading_pipeline.tables.dips import CAUSE_COLUMNS
from trading_pipeline.tables.reference import EARNINGS_CALENDAR, NEWS
from trading_pipeline.tables.screener import SCREENER_SCORES
from trading_pipeline_tests.desks import BENCHMARK, HIGH, LENGTH, Scene, filled

DAY = HIGH + 6


@pytest.fixture(scope="module")
def crash():
    return Scene(market={DAY: -0.07})


@pytest.fixture(scope="module")
def blow():
    """A0 alone loses a tenth: too little to be believed without a reason."""
    return Scene(own={DAY: -0.10})


def test_a_fall_of_the_market_is_macro(crash):
    found = crash.judged()
    assert found["cause"] == "macro" and found["cause_share"] > 0.8
    assert f"{crash.sessions[DAY]}: shares fell 6." in found["evidence"]


def test_a_fall_of_the_sector_is_sector():
    scene = Scene(sector={DAY: -0.09})
    found = scene.judged()
    assert found["cause"] == "sector" and found["cause_share"] > 0.7
    assert str(scene.sessions[DAY]) in found["evidence"] and "Energy" in found["evidence"]


def test_a_fall_of_its_own_is_unknown_without_news_and_the_companys_with_it(blow):
    silent = blow.judged()
    assert silent["cause"] == "unknown" and silent["news_ids"] == ""
    assert "no headline fits" in silent["evidence"]
    told = blow.judged(blow.article(DAY, "Regulator opens an inquiry"))
    assert told["cause"] == "company" and told["cause_share"] > 0.8
    assert told["news_ids"] == f"Regulator opens an inquiry-{DAY}"
    assert f"“Regulator opens an inquiry” ({blow.sessions[DAY]})" in told["evidence"].splitlines()


def test_a_fall_too_large_for_chance_is_the_companys_even_in_silence():
    assert Scene(own={DAY: -0.20}).judged()["cause"] == "company"


@pytest.mark.parametrize("late", [0, 3])
def test_a_late_headline_is_believed(blow, late):
    assert blow.judged(blow.article(DAY + late))["cause"] == "company"


@pytest.mark.parametrize(
    "changed",
    [
        {"session": 4},
        {"session": -1},
        {"sentiment": 0.6},
        {"scope": "market"},
        {"scope": "sector"},
        {"instrument_id": "us:B3"},
    ],
    ids=["much later", "earlier", "good news", "about the market", "about the sector", "about somebody else"],
)
def test_a_headline_that_does_not_fit_is_not_believed(blow, changed):
    shift = changed.get("session")
    given = changed if shift is None else {"session": blow.sessions[DAY + shift]}
    found = blow.judged(blow.article(DAY, **given))
    assert (found["cause"], found["news_ids"]) == ("unknown", "")


def test_a_headline_without_a_scope_is_about_the_company(blow):
    assert blow.judged(blow.article(DAY, scope=None))["cause"] == "company"


def test_company_news_on_the_day_of_a_crash_explains_nothing(crash):
    """The share did what the market did: a headline tagged with it is misattributed."""
    found = crash.judged(crash.article(DAY, "A0 in trouble"))
    assert (found["cause"], found["news_ids"]) == ("macro", "")
    assert "trouble" not in found["evidence"]


def test_news_of_the_market_count_whoever_they_are_tagged_with(crash):
    found = crash.judged(crash.article(DAY, "Markets slide", scope="market", instrument_id="us:B1"))
    assert found["news_ids"] == f"Markets slide-{DAY}" and "“Markets slide”" in found["evidence"]


@pytest.mark.parametrize(("before_open", "wording"), [(True, "of that day"), (False, "of 20")])
def test_a_fall_on_a_report_is_earnings(blow, before_open, wording):
    found = blow.judged(reports=blow.calendar_of(DAY, before_open=before_open))
    assert found["cause"] == "earnings" and found["cause_share"] > 0.8
    line = next(line for line in found["evidence"].splitlines() if line.startswith(str(blow.sessions[DAY])))
    assert "−9." in line or "−10." in line
    assert f"after the report {wording}" in line and "earned 0.61 a share against 0.72 expected" in line


def test_a_report_told_a_session_early_is_found_all_the_same(blow):
    """An unknown time of day: the calendar took it for one before the open."""
    assert blow.judged(reports=blow.calendar_of(DAY - 1))["cause"] == "earnings"
    sure = blow.calendar_of(DAY - 1, before_open=False)
    assert blow.judged(reports=sure)["cause"] == "unknown", "after the close of the day before: no doubt about it"


def test_a_report_elsewhere_explains_nothing(blow):
    assert blow.judged(reports=blow.calendar_of(DAY - 3))["cause"] == "unknown"
    assert blow.judged(reports=blow.calendar_of(HIGH - 30))["cause"] == "unknown"


def test_headlines_about_a_report_are_evidence_for_it(blow):
    found = blow.judged(blow.article(DAY, "A0 misses"), reports=blow.calendar_of(DAY))
    assert (found["cause"], found["news_ids"]) == ("earnings", f"A0 misses-{DAY}")


def test_a_dividend_that_makes_half_of_the_dip_is_the_cause():
    scene = Scene(paid={DAY: 9.0})
    found = scene.judged()
    assert found["cause"] == "ex_dividend" and found["cause_share"] > 0.5
    assert f"went ex on {scene.sessions[DAY]}" in found["evidence"]
    small = Scene(paid={DAY: 2.0}, own={DAY + 2: -0.10}).judged()
    assert small["cause"] == "unknown"


def test_a_dividend_in_the_basis_before_a_split_counts_in_that_of_today():
    scene = Scene(paid={DAY: 9.0})
    split = DAY + 4
    half = pl.when(pl.col("session") >= scene.sessions[split]).then(2.0).otherwise(1.0)
    mine = pl.when(pl.col("instrument_id") == "us:A0").then(half).otherwise(1.0)
    prices = ("open", "high", "low", "close")
    whole = scene.judged()["cause_share"]
    scene.bars = scene.bars.with_columns(*(pl.col(name) / mine for name in prices))
    scene.actions = scene.actions.vstack(
        pl.DataFrame(
            {"session": [scene.sessions[split]], "instrument_id": "us:A0", "kind": "split", "value": 2.0},
            schema=scene.actions.schema,
        )
    )
    assert scene.judged()["cause_share"] == pytest.approx(whole, abs=1e-9)


def test_a_dip_of_many_small_reasons_has_no_cause():
    slow = Scene(own=dict.fromkeys(range(HIGH + 1, LENGTH), -0.006))
    found = slow.judged()
    assert found["cause"] == "unknown"
    assert "No report, dividend or fitting headline" in found["evidence"]


def test_the_larger_of_two_causes_wins_and_shares_are_shares():
    both = Scene(market={DAY: -0.05}, own={DAY + 3: -0.10})
    found = both.judged(both.article(DAY + 3))
    assert found["cause"] == "company" and 0.5 < found["cause_share"] < 0.8


def test_a_headline_breaks_a_near_tie_and_nothing_more():
    near = Scene(market={DAY: -0.06}, own={DAY + 3: -0.059})
    market = near.article(DAY, "Markets slide", scope="market")
    own = near.article(DAY + 3, "A0 warns")
    assert near.judged(own)["cause"] == "company"
    assert near.judged()["cause"] == near.judged(own, market)["cause"] == "macro"
    far = Scene(market={DAY: -0.09}, own={DAY + 3: -0.045})
    assert far.judged(far.article(DAY + 3))["cause"] == "macro"


def test_what_the_screener_and_the_calendar_say_is_carried_along(blow):
    session = blow.sessions[-1]
    verdict = {"verdict": "Buy", "total": 71.0, "grade": "B", "gates_failed": ""}
    score = {"session": session, "instrument_id": "us:A0", **verdict}
    scores = filled(pl.DataFrame([score], schema_overrides=SCREENER_SCORES.schema), SCREENER_SCORES.schema)
    found = causes(
        blow.dips([session]),
        blow.bars,
        blow.actions,
        blow.members,
        NEWS.empty(),
        blow.calendar_of(LENGTH - 30, LENGTH - 1),
        scores,
        pl.DataFrame({"session": [session], "instrument_id": ["us:A0"]}),
        BENCHMARK,
        [session],
    ).row(0, named=True)
    assert (found["on_desk"], found["verdict"], found["total"], found["grade"]) == (True, "Buy", 71.0, "B")
    assert (found["gates_failed"], found["sessions_to_report"]) == ("", 0)


def test_off_the_desk_and_unscored_says_so(blow):
    session = blow.sessions[-1]
    found = causes(
        blow.dips([session]),
        blow.bars,
        blow.actions,
        blow.members,
        NEWS.empty(),
        EARNINGS_CALENDAR.empty(),
        SCREENER_SCORES.empty(),
        pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String}),
        BENCHMARK,
        [session],
    )
    row = found.row(0, named=True)
    assert (row["on_desk"], row["verdict"], row["gates_failed"], row["sessions_to_report"]) == (False, None, None, None)


# --- properties -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(random_market):
    """A random market with holes, splits, dividends and jumps, and reference data drawn at random."""
    market = random_market(8, sessions=800, tickers=24)
    rng = np.random.default_rng(3)
    ids = sorted(set(market.members["instrument_id"]))
    jumps = np.where(rng.random((800, len(ids))) < 0.012, rng.choice([-0.15, -0.1, 0.12], (800, len(ids))), 0.0)
    jumps[:, ::4] += np.where(rng.random(800) < 0.006, -0.09, 0.0)[:, None]
    for number in range(len(ids)):
        jumps[5 + number :: 63, number] -= 0.08
    level = pl.DataFrame(np.exp(np.cumsum(jumps, axis=0)), schema=ids).with_columns(session=pl.Series(market.sessions))
    level = level.unpivot(index="session", variable_name="instrument_id", value_name="level")
    bars = market.bars.join(level, on=["session", "instrument_id"], how="left", maintain_order="left")
    prices = [pl.col(name) * pl.col("level").fill_null(1.0) for name in ("open", "high", "low", "close")]
    market = replace(market, bars=bars.with_columns(prices).drop("level"))
    count = 6000
    place = rng.integers(0, 800, count)
    news = pl.DataFrame(
        {
            "session": [market.sessions[at] for at in place],
            "instrument_id": rng.choice(ids, count),
            "article_id": [f"n{number:05d}" for number in range(count)],
            "title": [f"Headline {number}" for number in range(count)],
            "scope": rng.choice(["company", "sector", "market", ""], count, p=[0.6, 0.1, 0.05, 0.25]),
            "sentiment": rng.uniform(-1, 1, count),
        }
    ).with_columns(scope=pl.when(pl.col("scope") != "").then("scope"))
    rows = []
    for number, name in enumerate(ids):
        reports = list(range(5 + number, 800, 63))
        for at, session in enumerate(market.sessions):
            past = [report for report in reports if report + number % 3 <= at]
            rows.append(
                {
                    "session": session,
                    "instrument_id": name,
                    "last_report_session": market.sessions[past[-1]] if past else None,
                    "last_report_date": market.sessions[past[-1]] if past else None,
                    "last_eps_actual": 1.0 + at if past else None,
                    "last_eps_estimate": 1.0,
                    "sessions_to_report": min((report - at for report in reports if report >= at), default=None),
                }
            )
    calendar = pl.DataFrame(rows, schema_overrides={"last_report_session": pl.Date, "last_report_date": pl.Date})
    return market, filled(news, NEWS.schema), filled(calendar, EARNINGS_CALENDAR.schema)


def judge(world, sessions, bounded=True):
    """As the pipeline runs it: nothing after the last judged session, nothing before the lookbacks of the first."""
    market, news, earnings = world
    start = market.sessions.index(sessions[0])
    if bounded:
        market = market.between(market.sessions[max(0, start - LOOKBACK)], sessions[-1])
        low = market.sessions[max(0, start - REFERENCE_LOOKBACK)]
        inside = pl.col("session").is_between(low, sessions[-1])
        news, earnings = news.filter(inside), earnings.filter(inside)
    measured = indicators(market.bars, market.actions, market.members, BENCHMARK, sessions)
    regime = pl.DataFrame({"session": sessions}).with_columns(environment=pl.lit("B"))
    found = dip_opportunities(
        market.bars, market.actions, market.members, measured, regime, BENCHMARK, (5.0, 10.0), sessions
    )
    return causes(
        found,
        market.bars,
        market.actions,
        market.members,
        news,
        earnings,
        SCREENER_SCORES.empty(),
        market.members.filter(pl.col("universe") == "NARROW"),
        BENCHMARK,
        sessions,
    )


@pytest.fixture(scope="module")
def in_one_go(world):
    return judge(world, world[0].sessions[-60:])


def test_every_dip_has_a_cause_and_evidence(in_one_go):
    assert in_one_go.height > 300
    assert set(in_one_go["cause"]) <= set(CAUSES) and in_one_go["cause"].n_unique() >= 5
    assert in_one_go["evidence"].str.len_chars().min() > 10
    known = in_one_go.drop_nulls("cause_share")
    assert known["cause_share"].is_between(0, 1).all() and known.height == in_one_go.drop_nulls("fall").height
    nullable = {column.name for column in CAUSE_COLUMNS if column.nullable}
    assert all(in_one_go[column.name].null_count() == 0 for column in CAUSE_COLUMNS if column.name not in nullable)


def test_a_range_gives_what_its_sessions_give_one_by_one(world, in_one_go):
    sessions = world[0].sessions[-60:]
    days = [judge(world, [session]) for session in sessions[::7]]
    chosen = in_one_go.filter(pl.col("session").is_in(sessions[::7]))
    assert_frame_equal(pl.concat(days), chosen, abs_tol=1e-9)


def test_nothing_after_a_session_changes_it(world, in_one_go):
    """The rest of history is kept and turned upside down after the last judged session."""
    market, news, earnings = world
    cut = market.sessions[-30]
    sessions = market.sessions[-60:-29]
    later = pl.col("session") > cut
    spoilt = pl.when(later).then(pl.col("close") * 0.5).otherwise("close")
    bars = market.bars.with_columns(close=spoilt, low=pl.when(later).then(pl.col("low") * 0.4).otherwise("low"))
    future = news.filter(later).with_columns(sentiment=pl.lit(-1.0), scope=pl.lit("company"))
    told = pl.concat([news.filter(~later), future])
    wrong = earnings.with_columns(
        last_report_session=pl.when(later).then(pl.lit(cut)).otherwise("last_report_session"),
        last_eps_actual=pl.when(later).then(-9.0).otherwise("last_eps_actual"),
    )
    found = judge((replace(market, bars=bars), told, wrong), sessions, bounded=False)
    before = in_one_go.filter(pl.col("session") <= cut)
    assert_frame_equal(found, before, abs_tol=1e-9)


def test_the_days_of_a_path_add_up_to_the_fall(world, in_one_go):
    market = world[0]
    dips = in_one_go.filter(pl.col("fall").is_not_null())
    found = np.full(dips.height, np.nan)
    for days in Paths(market.bars, market.actions, market.members, dips, BENCHMARK).days():
        found[days.dips] = np.where(days.falling, days.market + days.sector + days.own, 0).sum(axis=1)
    assert np.abs(found - dips["fall"].to_numpy()).max() < 1e-9


def test_with_enough_members_the_market_is_what_they_do_and_not_the_benchmark(random_market):
    """The benchmark crashes alone: nobody's fall is blamed on it."""
    market = random_market(8, sessions=700, tickers=60, holes=False)
    crash = market.sessions[-10]
    spoilt = (pl.col("instrument_id") == BENCHMARK) & (pl.col("session") >= crash)
    prices = [
        pl.when(spoilt).then(pl.col(name) * 0.8).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close")
    ]
    dips = judge((market, NEWS.empty(), EARNINGS_CALENDAR.empty()), market.sessions[-1:])
    few = market.members.filter(pl.col("instrument_id") < "us:T015")
    for members, moved in ((market.members, False), (few, True)):
        sums = []
        for bars in (market.bars, market.bars.with_columns(prices)):
            chosen = dips.filter(pl.col("instrument_id") < "us:T015")
            (days,) = Paths(bars, market.actions, members, chosen, BENCHMARK).days()
            sums.append(np.where(days.falling, days.market, 0).sum(axis=1))
        assert bool(np.abs(sums[0] - sums[1]).max() > 0.01) == moved


def test_one_price_told_a_hundred_times_too_high_is_no_move_of_the_market(random_market):
    market = random_market(8, sessions=700, tickers=60, holes=False)
    wrong = (pl.col("instrument_id") == "us:T040") & (pl.col("session") >= market.sessions[-10])
    prices = [pl.when(wrong).then(pl.col(name) * 100).otherwise(name).alias(name) for name in ("high", "low", "close")]
    dips = judge((market, NEWS.empty(), EARNINGS_CALENDAR.empty()), market.sessions[-1:])
    dips = dips.filter((pl.col("instrument_id") != "us:T040") & (pl.col("sessions_since_high") > 10))
    sums = []
    for bars in (market.bars, market.bars.with_columns(prices)):
        (days,) = Paths(bars, market.actions, market.members, dips, BENCHMARK).days()
        sums.append(np.where(days.falling, days.market, 0).sum(axis=1))
    assert dips.height > 5 and np.abs(sums[0] - sums[1]).max() < 0.02


def test_the_order_of_rows_decides_nothing(world, in_one_go):
    market, news, earnings = world
    shuffled = (
        market,
        news.sample(fraction=1, shuffle=True, seed=1),
        earnings.sample(fraction=1, shuffle=True, seed=2),
    )
    assert_frame_equal(judge(shuffled, market.sessions[-60:]), in_one_go)


def test_no_dips_no_rows(blow):
    nothing = blow.dips([blow.sessions[HIGH]])
    found = causes(
        nothing.clear(),
        blow.bars,
        blow.actions,
        blow.members,
        NEWS.empty(),
        EARNINGS_CALENDAR.empty(),
        SCREENER_SCORES.empty(),
        blow.members,
        BENCHMARK,
        [blow.sessions[HIGH]],
    )
    assert found.height == 0 and [column.name for column in CAUSE_COLUMNS] == found.columns[-len(CAUSE_COLUMNS) :]
    assert all(found.schema[column.name] == column.dtype for column in CAUSE_COLUMNS)
