"""When a told report could be known, and the one row a symbol and fiscal period."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.report_rows import earnings_frame, number, out_at

DAY = date(2025, 5, 7)
NOW = datetime(2025, 5, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("market", "timing", "moment"),
    [
        (US, "bmo", datetime(2025, 5, 7, 13, 30, tzinfo=UTC)),
        (US, "dmh", datetime(2025, 5, 7, 20, 0, tzinfo=UTC)),
        (US, "amc", datetime(2025, 5, 7, 21, 0, tzinfo=UTC)),
        (US, "unknown", datetime(2025, 5, 8, 4, 0, tzinfo=UTC)),
        (ASX, "bmo", datetime(2025, 5, 6, 23, 30, tzinfo=UTC)),
    ],
)
def test_a_report_is_out_by_a_time_of_the_exchange(market, timing, moment):
    assert out_at(market, DAY, timing) == moment


def row(day=DAY, **changes):
    empty = dict.fromkeys(("eps_estimate", "eps_actual", "revenue_estimate", "revenue_actual", "confirmed"))
    return {"symbol": "AAA", "report_date": day, "timing": "amc", "fiscal_period": "2025Q1", **empty, **changes}


def test_a_result_is_as_old_as_its_report_and_a_date_as_its_telling():
    (result,) = earnings_frame([row(revenue_actual=1.0)], US, NOW).rows(named=True)
    (coming,) = earnings_frame([row(eps_estimate=1.0)], US, NOW).rows(named=True)
    (early,) = earnings_frame([row(date(2025, 5, 12), eps_actual=1.0)], US, NOW).rows(named=True)
    assert result["available_at"] == datetime(2025, 5, 7, 21, tzinfo=UTC)
    assert coming["available_at"] == early["available_at"] == NOW


def test_of_a_period_told_twice_the_result_stands_and_then_the_later_date():
    twice = [row(date(2025, 5, 8)), row(eps_actual=1.0), row(date(2025, 5, 6), eps_actual=2.0)]
    assert earnings_frame(twice, US, NOW)["eps_actual"].to_list() == [1.0]
    assert earnings_frame([row(), row(date(2025, 5, 8))], US, NOW)["report_date"].to_list() == [date(2025, 5, 8)]


@pytest.mark.parametrize(("value", "meant"), [(None, None), ("", None), ("1.5", 1.5), (2, 2.0), ("nan", None)])
def test_numbers_may_come_as_text(value, meant):
    assert number(value) == meant


@pytest.mark.parametrize("value", ["much", True, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError):
        number(value)
