"""The simulated market is a plausible one, and what its truth publishes can be seen in its bars."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.markets import ASX, US, Market
from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.simulated import SimulatedProvider, Truth
from trading_pipeline.providers.simulated.companies import company_name
from trading_pipeline.providers.simulated.market import SimulatedMarket

SEED, COMPANIES = 20160314, 120
FIRST, LAST = date(2010, 1, 4), date(2025, 12, 31)
NOW = datetime(2025, 12, 31, 23, tzinfo=UTC)
PANELS = ("open", "high", "low", "close", "volume", "splits", "payouts", "fault")


@pytest.fixture(scope="module")
def provider() -> SimulatedProvider:
    return SimulatedProvider(SEED, COMPANIES)


@pytest.fixture(scope="module")
def truth(provider: SimulatedProvider) -> Truth:
    return Truth(provider, US, LAST)


@pytest.fixture(scope="module")
def returns(provider: SimulatedProvider, truth: Truth) -> pl.DataFrame:
    """instrument_id, session, log (adj_close), ret (its change), volume; no bars that a planted fault touches."""
    requests = [SymbolRequest(symbol, FIRST, LAST) for symbol in provider.symbols(US, FIRST, LAST)]
    bars = provider.daily_bars(requests, now=NOW).bars
    names = truth.companies().select("instrument_id", symbol="ticker")
    faults = truth.faults().select("instrument_id", "session", "fault")
    return (
        bars.join(names, on="symbol", how="left")
        .with_columns(pl.coalesce("instrument_id", pl.concat_str(pl.lit("us:"), "symbol")).alias("instrument_id"))
        .join(faults, on=["instrument_id", "session"], how="left")
        .with_columns(
            pl.when(pl.col("fault").is_null() | (pl.col("fault") == "duplicate")).then("adj_close").alias("price")
        )
        .sort("instrument_id", "session")
        .with_columns(log=pl.col("price").log(), ret=pl.col("price").log().diff().over("instrument_id"))
        .select("instrument_id", "session", "log", "ret", "volume")
        .drop_nulls("ret")
    )


def autocorrelation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[lag:], values[:-lag])[0, 1])


def series(returns: pl.DataFrame, instrument: str) -> np.ndarray:
    return returns.filter(instrument_id=instrument)["ret"].to_numpy()


class TestDeterminism:
    def test_growing_the_horizon_changes_nothing_of_the_past(self) -> None:
        slowly, at_once = (SimulatedMarket(US, SEED, 30) for _ in range(2))
        at_once.reach(3000)
        slowly.reach(10)
        young = {name: getattr(slowly, name)[:, : slowly.horizon].copy() for name in PANELS}
        for position in (200, 201, 1500, 3000):
            slowly.reach(position)

        for name in PANELS:
            np.testing.assert_array_equal(getattr(slowly, name), getattr(at_once, name))
            np.testing.assert_array_equal(young[name], getattr(at_once, name)[:, : young[name].shape[1]])

    @pytest.mark.parametrize(
        ("market", "benchmark", "company"),
        [(US, [99.9, 104.84, 92.46], [23.15, 44.23]), (ASX, [100.78, 139.74, 319.04], [32.67, 12.87])],
    )
    def test_the_default_seed_says_what_it_has_always_said(
        self, market: Market, benchmark: list[float], company: list[float]
    ) -> None:
        """A change here revises every stored history: numpy may change its streams between versions, a constant may."""
        simulated = SimulatedMarket(market, SEED, COMPANIES).reach(2767)

        assert simulated.close[simulated.benchmark_row, [0, 250, 2767]].tolist() == benchmark
        assert simulated.close[5, [0, 2000]].tolist() == company

    def test_a_larger_market_begins_with_the_same_companies(self) -> None:
        small, large = (SimulatedMarket(US, SEED, companies).reach(1000) for companies in (30, 70))

        assert large.horizon == small.horizon
        np.testing.assert_array_equal(small.close[:30], large.close[:30])
        np.testing.assert_array_equal(small.volume[:30], large.volume[:30])

    def test_the_two_markets_are_not_copies_of_each_other(self) -> None:
        us, asx = (SimulatedMarket(market, SEED, 30).reach(1000) for market in (US, ASX))

        moves = [np.diff(np.log(each.close[each.benchmark_row, :1000])) for each in (us, asx)]
        assert abs(np.corrcoef(moves[0], moves[1])[0, 1]) < 0.1

    def test_the_truth_of_a_date_does_not_depend_on_how_far_it_is_told(self, provider: SimulatedProvider) -> None:
        early_end = date(2014, 8, 20)
        early, late = Truth(provider, US, early_end), Truth(provider, US, LAST)

        for name in ("regimes", "shocks", "earnings", "actions", "faults", "renames"):
            before = getattr(late, name)().filter(pl.col("session") <= early_end)
            assert_frame_equal(getattr(early, name)(), before, check_exact=True)
        assert early.pair() == late.pair()
        assert early.companies()["last_session"].max() < early_end

    @pytest.mark.parametrize("companies", [20, 500])
    def test_small_and_large_markets_work(self, companies: int) -> None:
        provider = SimulatedProvider(SEED, companies)
        day = date(2011, 11, 11)

        sizes = [provider.members(US, key, [day]).height for key in provider.universe_keys(US)]

        assert 0.9 * companies <= sizes[0] <= companies
        assert sizes[1] == min(100, companies * 5 // 6)
        assert sizes[2] == (3 if companies == 20 else 10)


class TestStylisedFacts:
    """The facts of Cont (2001), Empirical properties of asset returns, on the benchmark and the companies."""

    def test_returns_are_uncorrelated_while_their_sizes_cluster(self, returns: pl.DataFrame) -> None:
        index = series(returns, "us:QINDEX")
        plain = [autocorrelation(index, lag) for lag in range(1, 11)]
        sizes = [autocorrelation(np.abs(index), lag) for lag in range(1, 21)]

        assert max(np.abs(plain)) < 0.06
        assert min(sizes) > 0.1
        companies = [
            autocorrelation(np.abs(series(returns, f"us:Q{number}")).clip(0, 0.1), 5) for number in range(1001, 1021)
        ]
        assert np.median(companies) > 0.05

    def test_tails_are_fat(self, returns: pl.DataFrame) -> None:
        kurtosis = (
            returns.group_by("instrument_id").agg(pl.col("ret").kurtosis(), pl.len()).filter(pl.col("len") > 1000)
        )

        assert kurtosis.filter(instrument_id="us:QINDEX")["ret"][0] > 2
        assert (kurtosis["ret"] > 1).mean() > 0.95

    def test_levels_of_risk_are_those_of_equities(self, returns: pl.DataFrame) -> None:
        yearly = (
            returns.filter(pl.col("instrument_id") != "us:^QVOL")
            .group_by("instrument_id")
            .agg((pl.col("ret").std() * 252**0.5).alias("risk"), pl.len())
            .filter(pl.col("len") > 1000)
        )

        index = yearly.filter(instrument_id="us:QINDEX")["risk"][0]
        assert 0.12 < index < 0.24
        assert 0.25 < yearly["risk"].median() < 0.45

    def test_volume_rises_with_the_size_of_the_move(self, returns: pl.DataFrame) -> None:
        correlation = (
            returns.filter((pl.col("volume") > 0) & pl.col("instrument_id").str.contains(r":Q\d"))
            .group_by("instrument_id")
            .agg(pl.corr(pl.col("ret").abs(), pl.col("volume").log(), method="spearman"))["ret"]
        )
        assert correlation.median() > 0.2

    def test_the_benchmark_moves_as_its_members_do(self, provider: SimulatedProvider, returns: pl.DataFrame) -> None:
        average = returns.filter(pl.col("instrument_id").str.contains(r":Q\d")).group_by("session").agg(pl.mean("ret"))
        both = returns.filter(instrument_id="us:QINDEX").join(average, on="session")

        assert both.select(pl.corr("ret", "ret_right")).item() > 0.93

    def test_implied_volatility_falls_with_rises_and_tells_of_what_follows(
        self, provider: SimulatedProvider, returns: pl.DataFrame
    ) -> None:
        level = provider.daily_bars([SymbolRequest("^QVOL", FIRST, LAST)], now=NOW).bars.select("session", "close")
        index = returns.filter(instrument_id="us:QINDEX").sort("session").join(level, on="session")
        follows = index.with_columns(
            realised=pl.col("ret").rolling_std(21).shift(-21) * 252**0.5 * 100,
            change=pl.col("close").log().diff(),
        ).drop_nulls()

        assert follows.select(pl.corr("realised", "close")).item() > 0.4
        assert follows.select(pl.corr("ret", "change")).item() < -0.6
        assert 1.0 < (follows["close"] / follows["realised"]).median() < 1.5

    @pytest.mark.parametrize("seed", [1, 2, SEED])
    def test_regimes_differ_in_drift_and_volatility(self, seed: int) -> None:
        provider = SimulatedProvider(seed, 60)
        index = provider.daily_bars([SymbolRequest("QINDEX", FIRST, LAST)], now=NOW).bars
        by_regime = {
            regime: rows
            for (regime,), rows in Truth(provider, US, LAST)
            .regimes()
            .join(index.with_columns(ret=pl.col("adj_close").log().diff()), on="session")
            .drop_nulls("ret")
            .group_by("regime")
        }

        assert {regime: rows.height > 200 for regime, rows in by_regime.items()} == {
            "Bull": True,
            "Bear": True,
            "Sideways": True,
        }
        drift = {regime: rows["ret"].mean() for regime, rows in by_regime.items()}
        risk = {regime: rows["ret"].std() for regime, rows in by_regime.items()}
        assert drift["Bull"] > 0.0003 > -0.0003 > drift["Bear"]
        assert risk["Bear"] > 1.5 * risk["Bull"]


class TestPair:
    def test_it_is_cointegrated_and_other_companies_are_not(self, returns: pl.DataFrame, truth: Truth) -> None:
        pair = truth.pair()
        prices = returns.select("instrument_id", "session", "log")
        full = prices.group_by("instrument_id").len().filter(pl.col("len") > 3900)["instrument_id"].sort().to_list()
        others = [name for name in full if name not in ("us:QINDEX", "us:^QVOL", f"us:{pair.follower}")][1:16]

        slope, statistic, persistence = engle_granger(prices, f"us:{pair.follower}", f"us:{pair.leader}")
        strangers = [engle_granger(prices, other, f"us:{pair.leader}")[1] for other in others]

        assert statistic < -6  # the 1 % critical value of Engle and Granger for two series is -3.90
        assert np.median(strangers) > -3.34  # the 5 % one
        assert slope == pytest.approx(pair.hedge_ratio, abs=0.03)
        assert persistence == pytest.approx(pair.reversion, abs=0.02)

    def test_its_companies_live_undisturbed(self, truth: Truth) -> None:
        pair = truth.pair()
        both = [f"us:{pair.leader}", f"us:{pair.follower}"]

        own = truth.shocks().filter(pl.col("instrument_id").is_in(both) & ~pl.col("cause").is_in(["macro", "sector"]))
        assert own.is_empty()
        assert truth.actions().filter(pl.col("instrument_id").is_in(both), kind="dividend").is_empty()
        assert truth.companies().filter(pl.col("instrument_id").is_in(both))["last_session"].null_count() == 2


def engle_granger(prices: pl.DataFrame, dependent: str, independent: str) -> tuple[float, float, float]:
    """(slope, augmented Dickey-Fuller t of the residual with one lag, AR(1) coefficient of the residual)."""
    both = prices.filter(instrument_id=dependent).join(prices.filter(instrument_id=independent), on="session")
    y, x = both["log"].to_numpy(), both["log_right"].to_numpy()
    design = np.column_stack([np.ones(len(x)), x])
    weights, *_ = np.linalg.lstsq(design, y, rcond=None)
    spread = y - design @ weights
    change = np.diff(spread)
    lagged = np.column_stack([spread[1:-1], change[:-1]])
    fit, residuals, *_ = np.linalg.lstsq(lagged, change[1:], rcond=None)
    error = np.sqrt(residuals[0] / (len(lagged) - 2) * np.linalg.inv(lagged.T @ lagged)[0, 0])
    return float(weights[1]), float(fit[0] / error), autocorrelation(spread, 1)


@pytest.fixture(scope="module")
def struck(returns: pl.DataFrame, truth: Truth) -> pl.DataFrame:
    """One row per instrument and session with shocks: ret, log_size (sum), causes, largest cause, typical move."""
    shocks = truth.shocks().group_by("instrument_id", "session").agg(pl.sum("log_size"), pl.col("cause").unique())
    typical = returns.group_by("instrument_id").agg((pl.col("ret").abs().median() / 0.6745).alias("typical"))
    return returns.join(shocks, on=["instrument_id", "session"]).join(typical, on="instrument_id")


class TestPlantedShocks:
    @pytest.mark.parametrize("cause", ["macro", "sector", "company", "earnings", "none"])
    def test_shocks_of_every_cause_are_in_the_bars_at_their_size(self, struck: pl.DataFrame, cause: str) -> None:
        alone = struck.filter(pl.col("cause") == [cause])

        assert alone.height > 250
        slope = alone.select(pl.cov("ret", "log_size") / pl.var("log_size")).item()
        assert slope == pytest.approx(1, abs=0.1)
        surplus = ((alone["ret"] - alone["log_size"]) / alone["typical"]).abs()
        assert surplus.median() < 1.0
        assert surplus.quantile(0.99) < 8

    def test_shocks_are_mixed(self, struck: pl.DataFrame) -> None:
        assert struck.filter(pl.col("cause").list.len() > 1).height > 50

    def test_there_are_dips_of_every_cause_in_ten_years(self, truth: Truth) -> None:
        dips = truth.shocks().filter((pl.col("log_size") < -0.05) & (pl.col("session") > date(2015, 12, 31)))

        counts = dict(dips.group_by("cause").len().iter_rows())
        assert min(counts.get(cause, 0) for cause in ("macro", "sector", "company", "earnings", "none")) > 30

    def test_a_macro_shock_hits_everybody_and_a_sector_shock_its_sector(self, truth: Truth) -> None:
        named = truth.shocks().join(truth.companies().select("instrument_id", "sector"), on="instrument_id")
        per_event = named.group_by("session", "cause").agg(pl.len(), pl.col("sector").n_unique())

        assert per_event.filter(cause="macro")["len"].min() > 110
        assert (per_event.filter(cause="sector")["sector"] <= 2).all()

    def test_what_had_no_cause_is_given_back_and_what_a_company_caused_is_not(
        self, returns: pl.DataFrame, truth: Truth
    ) -> None:
        index = returns.filter(instrument_id="us:QINDEX").select("session", index="ret")
        after = (
            returns.join(index, on="session")
            .with_columns(excess=pl.col("ret") - pl.col("index"))
            .with_columns(rebound=pl.col("excess").rolling_sum(40).shift(-40).over("instrument_id"))
        )
        falls = truth.shocks().filter(pl.col("log_size") < -0.05).join(after, on=["instrument_id", "session"])
        rebound = {
            cause: (rows["rebound"] / -rows["log_size"]).clip(-3, 3).mean()
            for (cause,), rows in falls.drop_nulls("rebound").group_by("cause")
        }

        assert rebound["none"] > 0.25
        assert rebound["company"] < 0.15

    def test_earnings_move_prices_four_times_a_year(self, truth: Truth, returns: pl.DataFrame) -> None:
        reports = truth.earnings().join(returns, on=["instrument_id", "session"])

        per_year = reports.group_by("instrument_id", pl.col("session").dt.year().alias("year")).len()
        assert per_year["len"].max() == 4
        assert per_year["len"].median() == 4
        assert reports["ret"].std() > 1.4 * returns["ret"].std()


class TestCompanies:
    def test_names_are_unique_and_sectors_even(self, truth: Truth) -> None:
        companies = truth.companies()

        assert companies["name"].is_unique().all()
        counts = companies["sector"].value_counts()["count"]
        assert len(counts) == 11
        assert counts.max() < 2 * counts.min()

    @pytest.mark.parametrize("sector", range(11))
    def test_no_two_companies_of_any_sector_are_called_the_same(self, sector: int) -> None:
        assert len({company_name(sector, number) for number in range(4800)}) == 4800

    def test_companies_come_go_and_change_their_names(self, truth: Truth) -> None:
        companies = truth.companies()
        years = 16

        assert 20 < companies["last_session"].count() < 6 * years
        assert set(companies["ending"].drop_nulls()) == {"acquired", "failed"}
        assert companies.filter(pl.col("listed_on") > FIRST).height > 20
        assert truth.renames().height > years

    def test_the_acquired_end_above_the_bid_s_eve_and_the_failed_far_below(
        self, returns: pl.DataFrame, truth: Truth
    ) -> None:
        last = (
            returns.join(truth.companies().drop_nulls("ending"), on="instrument_id")
            .filter(pl.col("session") > pl.col("last_session") - pl.duration(days=95))
            .group_by("instrument_id", "ending")
            .agg(pl.sum("ret"))
        )

        assert (last.filter(ending="acquired")["ret"] > 0).mean() > 0.75
        assert last.filter(ending="failed")["ret"].max() < -0.3
