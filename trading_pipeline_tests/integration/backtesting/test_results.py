"""What a configuration comes to: the same on the same data, unmoved by the future, honest about what was revised."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from trading_pipeline.backtesting import results
from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import US
from trading_pipeline.research.backtest import parse_configuration
from trading_pipeline.tables import (
    BACKTEST_EQUITY,
    BACKTEST_POSITIONS,
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    STRATEGY_COMPARISON,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)
from trading_pipeline_tests.backtest_desks import BOTH_SIDES, EARLY, Desk, cross
from trading_pipeline_tests.promises import LAST, XNYS, final_at

NAMES = ("cross", "both-sides")
DAY = timedelta(days=1)


def cut(frame: pl.DataFrame, column: str = "session") -> pl.DataFrame:
    """Its rows up to the session at which the stories part."""
    return frame.filter(pl.col(column) <= EARLY)


class TestTheSameData:
    def test_computed_twice_nothing_is_written(self, later: Desk) -> None:
        """Not a commit of the lake, not a row of the warehouse; whatever the time."""
        before = later.everything()
        assert {name for name, version in before.items() if version} >= {
            "backtests", "backtest_equity", "warehouse backtests", "warehouse parameter_sweeps", "sweep_pairs"
        }  # fmt: skip
        for text in (cross("cross"), BOTH_SIDES):
            later.publish(text, later=30 * DAY)
        assert later.everything() == before

    def test_a_result_says_what_it_rests_on(self, later: Desk) -> None:
        (row,) = later.rows(BACKTESTS, configuration="cross").filter(pl.col("session") == LAST).rows(named=True)
        assert row["configuration_hash"] == later.keep(cross("cross")).hash
        assert row["code_version"] == results.CODE_VERSION
        assert row["data_as_of"] == final_at(US, LAST)
        assert (row["seed"], row["strategy"], row["sized_by"]) == (0, "moving_average_cross", "inverse_volatility")
        assert row["revised_from"] is None and row["watermark"] is None

    def test_the_row_tells_of_its_account(self, later: Desk) -> None:
        """Metrics recomputed here from the stored account and trades, by their definitions."""
        for name in NAMES:
            (row,) = later.rows(BACKTESTS, configuration=name).filter(pl.col("session") == LAST).rows(named=True)
            account, trades = later.rows(BACKTEST_EQUITY, configuration=name), later.rows(
                BACKTEST_TRADES, configuration=name
            )  # fmt: skip
            equity, gained = account["equity"].to_numpy(), account["return"].to_numpy()[1:]
            assert (row["equity"], row["first_session"]) == (equity[-1], account["session"][0])
            assert np.allclose(gained, equity[1:] / equity[:-1] - 1, rtol=0, atol=1e-15)
            assert row["total_return"] == pytest.approx(equity[-1] / row["capital"] - 1, rel=1e-12)
            assert row["sharpe"] == pytest.approx(gained.mean() / gained.std(ddof=1) * 252**0.5, rel=1e-9)
            assert row["maximum_drawdown"] == pytest.approx((equity / np.maximum.accumulate(equity)).min() - 1)
            assert row["fees"] == pytest.approx(trades["fees"].sum()) and row["fees"] > 0
            assert row["trades"] == trades.filter(pl.col("reason") != "end").height > 5
            assert trades["profit"].sum() == pytest.approx(equity[-1] - row["capital"], abs=1e-6)
            assert row["trials"] == (4 if name == "cross" else 1)
            with later.world() as world:
                panel = results.read_panel(world, US, "ALL").panel
            assert account["benchmark"].to_list() == panel.benchmark[-account.height :].tolist()

    def test_positions_are_what_the_account_holds(self, later: Desk) -> None:
        for name in NAMES:
            account = later.rows(BACKTEST_EQUITY, configuration=name)
            held = later.rows(BACKTEST_POSITIONS, configuration=name).group_by("session").agg(
                pl.col("value").sum(), count=pl.len()
            )  # fmt: skip
            both = account.join(held, on="session", how="left").fill_null(0)
            assert (both["count"] == both["positions"]).all()
            assert ((both["cash"] + both["value"] - both["equity"]).abs() < 1e-6).all()
        assert later.rows(BACKTEST_POSITIONS, configuration="both-sides")["shares"].min() < 0


class TestSessionsThatAreAdded:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("story", ["later", "other"])
    def test_what_was_there_before_is_the_same_bit_for_bit(
        self, early: Desk, name: str, story: str, request: pytest.FixtureRequest
    ) -> None:
        """Whatever the market does afterwards; accounts, positions, and trades that were over."""
        desk: Desk = request.getfixturevalue(story)
        for table in (BACKTEST_EQUITY, BACKTEST_POSITIONS):
            before = early.rows(table, configuration=name)
            assert before.height and cut(desk.rows(table, configuration=name)).equals(before)
        over = early.rows(BACKTEST_TRADES, configuration=name).filter(pl.col("reason") != "end")
        assert over.height and desk.rows(BACKTEST_TRADES, configuration=name).head(over.height).equals(over)
        assert desk.rows(BACKTEST_EQUITY, configuration=name)["session"].max() == LAST

    def test_nothing_is_said_to_be_revised_and_every_row_stays(self, early: Desk, later: Desk, other: Desk) -> None:
        for desk in (later, other):
            for name in NAMES:
                rows = desk.rows(BACKTESTS, configuration=name)
                assert rows["session"].to_list() == [EARLY, LAST]
                assert rows["revised_from"].null_count() == 2
                assert rows.head(1).equals(early.rows(BACKTESTS, configuration=name))

    def test_the_other_story_is_another_one(self, later: Desk, other: Desk) -> None:
        """What the tests above compare did go different ways afterwards."""
        for name in NAMES:
            ours, theirs = (desk.rows(BACKTEST_EQUITY, configuration=name)["equity"] for desk in (later, other))
            assert (ours != theirs).any()


class TestRevisions:
    def test_a_revised_bar_is_told_from_the_first_session_it_moves(self, copied: Desk) -> None:
        """A holding's close of 40 sessions ago; computed again on the same it is still told, and then over."""
        session, told_at = XNYS.offset(LAST, -40), final_at(US, LAST) + DAY
        before = copied.rows(BACKTEST_EQUITY, configuration="cross")
        held = copied.rows(BACKTEST_POSITIONS, configuration="cross").filter(pl.col("session") == session)
        copied.revise(held["instrument_id"][0], session, 1.03, told_at)
        for later in (2 * DAY, 3 * DAY):
            row = copied.publish(cross("cross"), later=later, whole=False)
            assert row["revised_from"] == session
            assert row["data_as_of"] == told_at
        after = copied.rows(BACKTEST_EQUITY, configuration="cross")
        assert after.filter(pl.col("session") < session).equals(before.filter(pl.col("session") < session))
        now, then = (frame.filter(pl.col("session") == session)["equity"][0] for frame in (after, before))
        assert now > then

        # One more on the same evening, of a session since: the earlier one is what the day began to differ from.
        copied.revise(held["instrument_id"][0], XNYS.offset(session, 1), 0.97, told_at + 3 * DAY)
        assert copied.publish(cross("cross"), later=5 * DAY, whole=False)["revised_from"] == session

        with copied.world() as world:
            versions = world.lake.read("us", BACKTESTS, LAST, LAST).filter(pl.col("configuration") == "cross")
            served = world.warehouse.query(
                "SELECT revised_from FROM backtests_latest WHERE configuration = 'cross' AND session = %(session)s",
                {"session": LAST},
            )
        assert versions.sort("computed_at")["revised_from"].to_list() == [None, session, session]
        assert served["revised_from"].to_list() == [session]

        tomorrow = copied.go_on(XNYS.offset(LAST, 1), now=final_at(US, XNYS.offset(LAST, 1)) + 5 * DAY)
        assert tomorrow.publish(cross("cross"), later=6 * DAY, whole=False)["revised_from"] is None

    def test_what_broke_off_after_the_row_tells_the_same_again(
        self, copied: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = XNYS.offset(LAST, -30)
        held = copied.rows(BACKTEST_POSITIONS, configuration="cross").filter(pl.col("session") == session)
        copied.revise(held["instrument_id"][0], session, 1.03, final_at(US, LAST) + DAY)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(results, "store", _broken_off)
            copied.publish(cross("cross"), later=2 * DAY, whole=False)
        assert copied.rows(BACKTESTS, configuration="cross")["revised_from"].to_list() == [None, session]
        assert copied.publish(cross("cross"), later=3 * DAY, whole=False)["revised_from"] == session

    def test_another_configuration_of_that_name_revises_nothing(self, copied: Desk) -> None:
        """Nor does the first one when it comes back: what lies between was not its account."""
        other = cross("cross").replace("fast = 5,", "fast = 4,")
        hashes = [copied.publish(text, whole=False)["configuration_hash"] for text in (other, cross("cross"))]
        assert hashes[0] != hashes[1]
        with copied.world() as world:
            rows = world.lake.read("us", BACKTESTS, LAST, LAST).filter(pl.col("configuration") == "cross")
        assert rows.sort("computed_at")["configuration_hash"].to_list() == [hashes[1], *hashes]
        assert rows["revised_from"].null_count() == 3

    def test_another_version_of_the_code_revises_nothing(self, copied: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(results, "CODE_VERSION", "2")
        copied.revise(
            copied.rows(BACKTEST_POSITIONS, configuration="cross")["instrument_id"][0],
            XNYS.offset(LAST, -30),
            1.03,
            final_at(US, LAST) + DAY,
        )
        row = copied.publish(cross("cross"), later=2 * DAY, whole=False)
        assert (row["code_version"], row["revised_from"]) == ("2", None)

    def test_a_history_that_now_begins_earlier_revises_all_of_it(self, copied: Desk) -> None:
        """Whole shares are those of a basis that begins with the first bar."""
        stored = copied.rows(BACKTEST_EQUITY, configuration="cross")
        with copied.world() as world:
            shorter = stored.filter(pl.col("session") > stored["session"][9])
            world.lake.replace_result("us", BACKTEST_EQUITY, {"configuration": "cross"}, shorter)
        assert copied.publish(cross("cross"), whole=False)["revised_from"] is None
        with copied.world() as world:
            gone = stored["session"][3] - timedelta(days=365)
            longer = pl.concat([stored.head(1).with_columns(session=pl.lit(gone)), stored]).sort("session")
            world.lake.replace_result("us", BACKTEST_EQUITY, {"configuration": "cross"}, longer)
        assert copied.publish(cross("cross"), whole=False)["revised_from"] == gone


def _broken_off(*_: object) -> bool:
    raise KeyboardInterrupt


class TestWalkForward:
    def test_windows_follow_each_other_and_their_tests_make_the_joined_equity(self, later: Desk) -> None:
        windows, joined = (later.rows(table, configuration="cross") for table in (WALK_FORWARD, WALK_FORWARD_EQUITY))
        assert windows["window"].to_list() == [1, 2, 3, 4]
        assert (windows["train_last"] < windows["test_first"]).all()
        for train, test in windows.select("train_last", "test_first").iter_rows():
            assert len(XNYS.between(train, test)) == 7  # both ends, and a purge of five sessions
        assert joined["session"].to_list() == XNYS.between(windows["test_first"][0], LAST)
        grown = float(np.prod(1 + windows["test_return"].to_numpy()))
        assert joined["equity"][-1] == pytest.approx(100_000 * grown, rel=1e-12)
        assert set(windows["tried"]) == {4}

    def test_a_test_is_what_the_chosen_set_would_have_earned_from_cash(self, copied: Desk) -> None:
        """The first window's, backtested by itself from the session before it on."""
        window = copied.rows(WALK_FORWARD, configuration="cross").row(0, named=True)
        begin = XNYS.offset(window["test_first"], -1)
        told = parse_configuration(cross("alone", more=f"first_session = {begin}"))
        configuration = told.with_parameters(**json.loads(window["parameters"]))
        with copied.world() as world:
            alone = results.publish_backtest(world, configuration).equity
        earned = alone.filter(pl.col("session").is_between(window["test_first"], window["test_last"]))["return"]
        assert window["test_return"] == pytest.approx(float(np.prod(1 + earned.to_numpy()) - 1), rel=1e-12)

    def test_a_choice_never_sees_its_test(self, later: Desk, other: Desk) -> None:
        """The last window was trained before the stories part, and its test lies behind: another test, one choice."""
        ours, theirs = (desk.rows(WALK_FORWARD, configuration="cross") for desk in (later, other))
        last = ours.row(-1, named=True)
        assert last["train_last"] < EARLY < last["test_first"] == XNYS.offset(EARLY, 1)
        assert last["test_return"] != theirs["test_return"][-1]
        assert ours.drop("test_sharpe", "test_return").equals(theirs.drop("test_sharpe", "test_return"))
        assert ours.head(3).equals(theirs.head(3))

    def test_a_session_more_changes_no_window_before_it(self, early: Desk, later: Desk) -> None:
        told = early.rows(WALK_FORWARD, configuration="cross")
        assert told.height == 3
        assert cut(later.rows(WALK_FORWARD, configuration="cross"), "test_last").equals(told)
        joined = early.rows(WALK_FORWARD_EQUITY, configuration="cross")
        assert cut(later.rows(WALK_FORWARD_EQUITY, configuration="cross")).equals(joined)

    def test_too_short_a_history_for_a_window_is_said_and_takes_away_what_was_there(self, copied: Desk) -> None:
        text = cross("cross").replace("training = 40", "training = 400")
        with copied.world() as world:
            rows, why = results.publish_walk_forward(world, copied.keep(text))
        assert rows.is_empty()
        assert "sessions after the warm-up: a training of 400 sessions leaves none" in str(why)
        assert copied.rows(WALK_FORWARD, configuration="cross").is_empty()
        assert copied.rows(WALK_FORWARD_EQUITY, configuration="cross").is_empty()

    def test_no_valid_set_is_told(self, copied: Desk) -> None:
        text = cross("cross").replace("fast = [3, 5], slow = [15, 20]", "fast = [30, 40], slow = [15, 20]")
        with (
            copied.world() as world,
            pytest.raises(InputRefused, match="parameters of cross is valid"),
        ):
            results.publish_walk_forward(world, copied.keep(text))


class TestMonteCarlo:
    def test_quantiles_and_bands_are_those_of_the_account(self, later: Desk) -> None:
        rows, bands = (later.rows(table, configuration="cross") for table in (MONTE_CARLO, MONTE_CARLO_BANDS))
        account = later.rows(BACKTEST_EQUITY, configuration="cross")
        assert set(rows["method"]) == {"blocks", "trades"}
        assert set(rows["paths"]) == {200} and set(rows["last_session"]) == {LAST}
        assert bands["session"].to_list() == account["session"].to_list()
        assert bands.row(0)[3:] == (100_000.0,) * 5
        ascending = bands.select(pl.concat_list("p05", "p25", "p50", "p75", "p95").list.diff(null_behavior="drop"))
        assert (ascending.to_series().list.min() >= 0).all()
        final = rows.filter((pl.col("method") == "blocks") & (pl.col("measure") == "final_return"))
        assert bands["p50"][-1] == pytest.approx(100_000 * (1 + final["p50"][0]), rel=1e-12)
        assert final["p05"][0] < account["equity"][-1] / 100_000 - 1 < final["p95"][0]

    def test_a_seed_is_a_result_and_another_one_another(self, copied: Desk) -> None:
        rows = copied.rows(MONTE_CARLO, configuration="cross").drop("configuration")
        for seed, same in ((0, True), (7, False)):
            name = f"seed-{seed}"
            copied.publish(cross(name, seed=seed))
            again = copied.rows(MONTE_CARLO, configuration=name).drop("configuration")
            assert again.equals(rows) is same
        drawn = rows.filter(pl.col("measure") == "final_return")["mean"]
        others = again.filter(pl.col("measure") == "final_return")["mean"]
        assert (drawn - others).abs().max() < 0.1

    def test_trades_are_drawn_by_what_they_made_of_the_equity_they_found(self, later: Desk) -> None:
        """Drawn with replacement, the mean of a path's growth is the mean trade's, as often as there are trades."""
        trades = later.rows(BACKTEST_TRADES, configuration="cross").filter(pl.col("reason") != "end")
        account = later.rows(BACKTEST_EQUITY, configuration="cross")
        found = dict(zip(account["session"][1:], account["equity"][:-1], strict=True))
        gains = np.array([profit / found[day] for profit, day in trades.select("profit", "entered_at").iter_rows()])
        mean = later.rows(MONTE_CARLO, configuration="cross").filter(
            (pl.col("method") == "trades") & (pl.col("measure") == "final_return")
        )["mean"][0]  # fmt: skip
        error = gains.std() * len(gains) ** 0.5 / 200**0.5
        assert mean == pytest.approx((1 + gains.mean()) ** len(gains) - 1, abs=4 * error)

    def test_what_never_traded_has_one_path(self, copied: Desk) -> None:
        """No trades to reshuffle, and blocks of returns of nothing."""
        row = copied.publish(BOTH_SIDES.replace("both-sides", "never").replace("entry = 1.5", "entry = 2.84"))
        assert (row["trades"], row["total_return"], row["sharpe"]) == (0, 0.0, None)
        rows = copied.rows(MONTE_CARLO, configuration="never")
        assert set(rows["method"]) == {"blocks"}
        assert rows.filter(pl.col("measure") == "final_return").row(0, named=True)["p95"] == 0.0
        assert copied.rows(BACKTEST_TRADES, configuration="never").is_empty()

    def test_without_a_result_there_is_nothing_to_resample(self, later: Desk) -> None:
        configuration = parse_configuration(cross("nobody"))
        with later.world() as world, pytest.raises(InputRefused, match="There is no backtest of nobody to resample"):
            results.publish_monte_carlo(world, configuration)

    def test_blocks_longer_than_the_history_are_refused_by_name(self, copied: Desk) -> None:
        text = cross("cross").replace("paths = 200", "paths = 200, block = 1000")
        with copied.world() as world, pytest.raises(InputRefused, match="cross cannot be backtested: a block must be"):
            results.publish_monte_carlo(world, copied.keep(text))


class TestComparison:
    def test_two_are_compared_on_what_both_cover(self, copied: Desk) -> None:
        copied.publish(cross("session"), whole=False)  # a name like a column's
        with copied.world() as world:
            rows = results.publish_comparison(world, US, ["cross", "both-sides", "session", "gone"])
            assert rows.equals(results.publish_comparison(world, US, ["session", "cross", "both-sides"]))
        assert rows.select("configuration", "other").rows() == [
            ("both-sides", "cross"), ("both-sides", "session"), ("cross", "session")
        ]  # fmt: skip
        accounts = [copied.rows(BACKTEST_EQUITY, configuration=name) for name in ("both-sides", "cross")]
        both = accounts[0][1:].join(accounts[1][1:], on="session")
        told = rows.row(0, named=True)
        assert (told["sessions"], told["last_session"]) == (both.height, LAST)
        assert told["correlation"] == pytest.approx(np.corrcoef(both["return"], both["return_right"])[0, 1])
        twins = rows.row(2, named=True)
        assert (twins["sharpe_difference"], twins["p_value"]) == (0.0, 1.0)
        assert twins["correlation"] == pytest.approx(1)
        assert copied.rows(STRATEGY_COMPARISON).equals(rows)

    def test_one_alone_is_compared_with_nobody(self, copied: Desk) -> None:
        with copied.world() as world:
            results.publish_comparison(world, US, list(NAMES))
            assert results.publish_comparison(world, US, ["cross"]).is_empty()
        assert copied.rows(STRATEGY_COMPARISON).is_empty()
