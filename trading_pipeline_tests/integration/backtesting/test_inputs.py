"""The panel a backtest rests on: who was a member then, the prices of a holder, measures known at each close."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from trading_pipeline.backtesting.inputs import ALL, VERDICTS, data_as_of, read_panel
from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import ASX, US
from trading_pipeline.storage import reader
from trading_pipeline.tables import CORPORATE_ACTIONS, INDICATORS, NEWS, SCREENER_SCORES, UNIVERSE_MEMBERS
from trading_pipeline_tests.backtest_desks import BARS_FROM, EARLY, Desk
from trading_pipeline_tests.promises import LAST, XNYS, final_at


def told(panel, values: np.ndarray, name: str = "value") -> pl.DataFrame:
    """[session, instrument_id, value] where a value is."""
    return panel.axes.to_long(np.isfinite(values), {name: values}).sort("session", "instrument_id")


class TestMembers:
    @pytest.mark.parametrize("universe", ["SIM_MEGA", "SIM_ALL", ALL])
    def test_they_are_those_of_each_session(self, later: Desk, universe: str) -> None:
        with later.world() as world:
            panel = read_panel(world, US, universe).panel
            members = world.lake.read("us", UNIVERSE_MEMBERS)
        own = members if universe == ALL else members.filter(pl.col("universe") == universe)
        expected = own.select("session", "instrument_id").unique().sort("session", "instrument_id")
        assert told(panel, np.where(panel.member, 1.0, np.nan)).drop("value").equals(expected)
        assert panel.axes.sessions.tolist() == XNYS.between(BARS_FROM, LAST)

    def test_who_left_or_joined_is_there_for_as_long_as_he_belonged(self, later: Desk) -> None:
        """Were the members those of the last session, nobody would ever leave."""
        with later.world() as world:
            panel = read_panel(world, US, "SIM_MEGA").panel
        changes = (panel.member[1:] != panel.member[:-1]).sum()
        assert changes > 0 and not panel.member.all(axis=0).all()

    def test_each_instrument_has_the_symbol_it_had_last(self, later: Desk) -> None:
        with later.world() as world:
            inputs = read_panel(world, US, ALL)
            members = world.lake.read("us", UNIVERSE_MEMBERS).sort("session")
        assert set(inputs.tickers) == set(inputs.panel.axes.instrument_ids)
        last = dict(members.select("instrument_id", "ticker").iter_rows())
        assert inputs.tickers == {name: last[name] for name in inputs.tickers}


class TestPrices:
    def test_they_are_those_of_a_holder_and_the_first_bar_stands_as_traded(self, later: Desk) -> None:
        """Told name by name: a split multiplies the shares, a dividend buys more at the close of its ex-date."""
        with later.world() as world:
            panel = read_panel(world, US, ALL).panel
            bars = reader.bars(world.lake, "us", XNYS.between(BARS_FROM, LAST), as_of=world.as_of)
            actions = world.lake.read("us", CORPORATE_ACTIONS).filter(pl.col("superseded_at").is_null())
        traded = panel.axes.from_long(bars, ["open", "high", "low", "close", "volume"])
        days = list(panel.axes.sessions.tolist())
        shares, kinds = np.ones(panel.shape), set()
        for column, name in enumerate(panel.axes.instrument_ids):
            own = actions.filter((pl.col("instrument_id") == name) & ~pl.col("withdrawn")).sort("session")
            first = int(np.argmax(panel.traded[:, column]))
            for day, kind, value in own.select("session", "kind", "value").iter_rows():
                row = days.index(day) if day in days else 0
                if row > first:
                    more = value if kind == "split" else 1 + value / traded["close"][row, column]
                    shares[row:, column] *= more
                    kinds.add(kind)
        assert "dividend" in kinds
        for name in ("open", "high", "low", "close"):
            assert np.allclose(getattr(panel, name), traded[name] * shares, rtol=1e-9, equal_nan=True), name
        assert np.allclose(panel.volume, traded["volume"] / shares, rtol=1e-9, equal_nan=True)
        assert (panel.traded == np.isfinite(traded["close"])).all()

    def test_what_was_not_known_yet_is_not_there(self, early: Desk, later: Desk) -> None:
        """As of the evening twelve sessions ago, a lake that holds them all gives the panel of that evening."""
        with early.world() as world:
            then = read_panel(world, US, ALL)
        with later.world(later=final_at(US, EARLY) - final_at(US, LAST)) as world:
            now = read_panel(world, US, ALL)
        assert list(now.panel.axes.instrument_ids) == list(then.panel.axes.instrument_ids)
        assert now.panel.axes.sessions.tolist() == then.panel.axes.sessions.tolist()
        for name in ("open", "high", "low", "close", "volume", "member", "benchmark"):
            assert np.array_equal(getattr(now.panel, name), getattr(then.panel, name), equal_nan=name != "member"), name
        for name, values in then.panel.measures.items():
            assert np.array_equal(now.panel.measures[name], values, equal_nan=True), name

    def test_the_newest_fact_dates_the_data(self, early: Desk, later: Desk, copied: Desk) -> None:
        for desk, last in ((early, EARLY), (later, LAST)):
            with desk.world() as world:
                assert data_as_of(world, US) == final_at(US, last)
                assert data_as_of(world, ASX) is None
        moment = final_at(US, LAST) + timedelta(hours=5)
        copied.revise(copied.instruments[0], XNYS.offset(LAST, -60), 1.01, moment)
        with copied.world() as world:
            assert data_as_of(world, US) == moment


class TestMeasures:
    def test_each_is_what_its_table_says_of_the_session(self, later: Desk) -> None:
        with later.world() as world:
            panel = read_panel(world, US, ALL).panel
            news = world.lake.read("us", NEWS)
            members = world.lake.read("us", UNIVERSE_MEMBERS)
        own = pl.col("instrument_id").is_in(panel.axes.instrument_ids)
        mean = news.filter(own).group_by("session", "instrument_id").agg(pl.col("sentiment").mean(), pl.len())
        mean = mean.sort("session", "instrument_id")
        assert mean.filter(pl.col("len") > 1).height > 10
        assert told(panel, panel.measures["articles"])["value"].to_list() == mean["len"].to_list()
        assert told(panel, panel.measures["sentiment"])["value"].to_list() == pytest.approx(mean["sentiment"].to_list())
        sectors = sorted(set(members["sector"].drop_nulls()))
        for row in members.filter(pl.col("session") == LAST).iter_rows(named=True):
            column = list(panel.axes.instrument_ids).index(row["instrument_id"])
            assert sectors[int(panel.measures["sector"][-1, column])] == row["sector"]

    def test_a_fall_from_the_high_is_in_per_cent(self, copied: Desk) -> None:
        """Half a year of bars has no high of 52 weeks: told here of one session."""
        with copied.world() as world:
            rows = world.lake.read_sessions("us", INDICATORS, [LAST])
            assert rows["distance_from_high"].null_count() == rows.height
            fallen = pl.when(pl.col("instrument_id") == copied.instruments[1]).then(-0.125)
            world.lake.replace("us", INDICATORS, [LAST], rows.with_columns(distance_from_high=fallen))
            panel = read_panel(world, US, ALL).panel
        assert told(panel, panel.measures["dip_pct"]).rows() == [(LAST, copied.instruments[1], 12.5)]

    def test_the_screeners_word_is_its_latest(self, copied: Desk) -> None:
        """Published, published anew, and taken back."""
        one, two, three = copied.instruments[:3]
        with copied.world() as world:
            for verdicts, hours in (
                ({one: "Avoid", two: "Strong Buy", three: "Buy"}, 1),
                ({one: "Hold", two: "Strong Buy"}, 2),
            ):
                rows = pl.DataFrame(
                    [
                        _screened(name, verdict, 10.0 * at)
                        for at, (name, verdict) in enumerate(sorted(verdicts.items()), 1)
                    ],
                    schema=SCREENER_SCORES.schema,
                )
                moment = final_at(US, LAST) + timedelta(hours=hours)
                world.lake.publish("us", SCREENER_SCORES, [LAST], rows, moment)
            panel = read_panel(world, US, ALL).panel
            assert data_as_of(world, US) == moment
        codes = {name: panel.measures["verdict"][-1, column] for column, name in enumerate(panel.axes.instrument_ids)}
        assert (codes[one], codes[two]) == (VERDICTS["Hold"], VERDICTS["Strong Buy"])
        assert np.isnan(codes[three])
        assert np.isnan(panel.measures["verdict"][:-1]).all()
        assert sorted(told(panel, panel.measures["total"])["value"]) == [10.0, 20.0]

    def test_a_panel_for_prices_alone_has_none(self, later: Desk) -> None:
        with later.world() as world:
            bare, full = (read_panel(world, US, "SIM100", measured=measured).panel for measured in (False, True))
        assert bare.measures == {} and full.measures
        assert np.array_equal(bare.close, full.close, equal_nan=True)


def _screened(name: str, verdict: str, total: float) -> dict[str, object]:
    """A row of `screener_scores` with what a backtest reads; the rest is whatever the table takes."""
    given = {"session": LAST, "instrument_id": name, "verdict": verdict, "total": total}
    blank = {pl.String: "", pl.Float64: 0.0, pl.Int32: 0, pl.Int64: 0, pl.Boolean: False, pl.Date: LAST}
    return {
        column.name: given.get(column.name, None if column.nullable else blank[column.dtype.base_type()])
        for column in SCREENER_SCORES.columns
    }


class TestNothingThere:
    def test_an_unknown_universe_lists_the_known_ones(self, later: Desk) -> None:
        with later.world() as world, pytest.raises(UnknownName, match="Known: ALL, SIM100, SIM_ALL, SIM_MEGA"):
            read_panel(world, US, "SPX500")

    def test_a_market_that_never_ran_is_told_to_run(self, later: Desk) -> None:
        with later.world() as world, pytest.raises(InputRefused, match="Bring the asx market up to date"):
            read_panel(world, ASX, ALL)

    def test_without_a_bar_of_the_benchmark_nothing_is_measured(self, copied: Desk) -> None:
        with copied.world() as world:
            bars = world.lake.read("us", "daily_bars")
            benchmark = world.index_of(US).benchmark
            rest = bars.filter(pl.col("instrument_id") != benchmark)
            assert rest.height < bars.height
            world.lake.replace("us", "daily_bars", bars["session"].unique().to_list(), rest)
            with pytest.raises(InputRefused, match="There is no bar of the benchmark"):
                read_panel(world, US, ALL)
