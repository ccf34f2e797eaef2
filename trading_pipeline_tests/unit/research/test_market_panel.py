"""The market panel: total returns on a forward basis, members, and what is cut off."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.market_panel import market_panel

DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(6)]
BENCHMARK = "us:INDEX"


def bars_of(closes: dict[str, list[float | None]]) -> pl.DataFrame:
    rows = [
        {
            "session": day,
            "instrument_id": name,
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": 100.0,
        }
        for name, prices in closes.items()
        for day, close in zip(DAYS, prices, strict=False)
        if close is not None
    ]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(("open", "high", "low", "close"), pl.Float64))


def actions_of(*rows: tuple[int, str, str, float]) -> pl.DataFrame:
    schema = {"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64}
    return pl.DataFrame([(DAYS[day], *rest) for day, *rest in rows], schema=schema, orient="row")


def members_of(*names: str) -> pl.DataFrame:
    return pl.DataFrame([{"session": day, "instrument_id": name} for day in DAYS for name in names])


def panel_of(closes, *actions, delisted=None, measures=None):
    told = {BENCHMARK: [100.0] * 6} | closes
    return market_panel(bars_of(told), actions_of(*actions), members_of(*closes), BENCHMARK, measures, delisted)


def test_the_first_bar_stands_as_traded_and_a_split_and_a_dividend_multiply_what_follows():
    panel = panel_of(
        {"us:A": [100.0, 100.0, 50.0, 48.0, 48.0, 48.0]}, (2, "us:A", "split", 2.0), (3, "us:A", "dividend", 2.0)
    )
    close = panel.close[:, 0]
    assert close[:3] == pytest.approx([100, 100, 100])
    assert close[3] / close[2] == pytest.approx((48 + 2) / 50)
    assert panel.close[:, 0] * panel.volume[:, 0] == pytest.approx([1e4, 1e4, 5e3, 4800, 4800, 4800])


def test_a_session_that_is_added_changes_nothing_before_it():
    closes = {"us:A": [100.0, 101.0, 50.0, 48.0, 49.0, 50.0]}
    whole = panel_of(closes, (2, "us:A", "split", 2.0), (5, "us:A", "dividend", 1.0))
    before = panel_of({"us:A": closes["us:A"][:4]}, (2, "us:A", "split", 2.0))
    assert np.array_equal(whole.close[:4], before.close[:4])
    cut = whole.until(4)
    assert np.array_equal(cut.close, before.close[:4]) and cut.shape == (4, 1)


def test_the_benchmarks_dividends_count_too():
    panel = panel_of({"us:A": [1.0] * 6}, (3, BENCHMARK, "dividend", 1.0))
    assert panel.benchmark[3] / panel.benchmark[2] == pytest.approx(1.01)


def test_who_is_delisted_later_is_not_known_to_be_before_it_happens():
    gone = pl.DataFrame({"instrument_id": ["us:A"], "session": [DAYS[2]]})
    panel = panel_of({"us:A": [3.0, 2.0, 1.0], "us:B": [1.0] * 6}, delisted=gone)
    assert panel.last_bars.tolist() == [2, -1]
    assert panel.until(3).last_bars.tolist() == [-1, -1]
    assert panel.until(4).last_bars.tolist() == [2, -1]
    assert panel.between(1, 6).last_bars.tolist() == [1, -1]


def test_measures_lie_on_the_axes_and_what_is_not_told_is_nan():
    told = pl.DataFrame({"session": [DAYS[1]], "instrument_id": ["us:B"], "value": [0.5]})
    panel = panel_of({"us:A": [1.0] * 6, "us:B": [1.0] * 6}, measures={"sentiment": told})
    assert panel.measures["sentiment"][1].tolist()[1] == 0.5
    assert np.isnan(panel.measures["sentiment"]).sum() == 11


def test_a_benchmark_without_a_bar_is_refused():
    with pytest.raises(ValueError, match="us:INDEX has no bar"):
        market_panel(bars_of({"us:A": [1.0] * 6}), actions_of(), members_of("us:A"), BENCHMARK)
