"""How one value is written."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from trading_pipeline.reports import wording


@pytest.mark.parametrize(
    ("fraction", "signed", "written"),
    [
        (0.1234, False, "12.3%"),
        (0.1234, True, "+12.3%"),
        (-0.05, True, "−5.0%"),
        (-0.0004, True, "0.0%"),
        (None, True, "–"),
    ],
)
def test_a_fraction_is_written_in_per_cent(fraction, signed, written):
    assert wording.percent(fraction, signed=signed) == written


@pytest.mark.parametrize(("value", "written"), [(1234.5, "1,234.50"), (0.0419, "0.0419"), (None, "–"), (math.nan, "–")])
def test_a_price_shows_what_a_trader_needs_of_it(value, written):
    assert wording.price(value) == written


@pytest.mark.parametrize(("value", "written"), [(5.0, "5"), (7.5, "7.5")])
def test_a_setting_is_written_as_it_was_set(value, written):
    assert wording.plain(value) == written


def test_one_is_not_many():
    assert wording.count(1, "session") == "1 session"
    assert wording.count(1204, "dip") == "1,204 dips"
    assert wording.count(0, "member is", "members are") == "0 members are"


def test_a_moment_is_told_on_the_exchanges_clock_and_in_utc():
    new_york, sydney = ZoneInfo("America/New_York"), ZoneInfo("Australia/Sydney")
    evening = datetime(2024, 7, 5, 22, 0, tzinfo=UTC)
    assert wording.moment(evening, new_york) == "5 Jul 2024, 18:00 EDT (22:00 UTC)"
    assert wording.moment(evening, sydney) == "6 Jul 2024, 08:00 AEST (5 Jul 2024, 22:00 UTC)"


def test_a_day_is_written_in_full_or_short():
    assert wording.day(date(2024, 7, 5)) == "Friday 5 July 2024"
    assert wording.short_day(date(2024, 7, 5)) == "5 Jul 2024"


def test_amounts_are_spoken_and_sizes_are_ranges():
    assert [wording.large(value) for value in (2.13e12, 42.7e9, 350e6, 12_000, -1.5e9, None)] == [
        "2.1 trillion",
        "42.7 billion",
        "350 million",
        "12,000",
        "−1.5 billion",
        "–",
    ]
    assert [wording.share(*ends) for ends in ((0.02, 0.04), (0.0275, 0.05), (0.03, 0.03))] == [
        "2–4 %",
        "2.75–5 %",
        "3 %",
    ]
    assert wording.amounts(2000, 4000, "USD") == "$2,000–4,000"
    assert wording.amounts(2500, 2500, "AUD") == "A$2,500"
    assert wording.money(None, "USD") == "–"
    assert wording.money(1250, "CHF") == "CHF 1,250"


def test_a_multiple_that_means_nothing_is_a_dash():
    assert [wording.times(value) for value in (18.44, 0.0, -4.0, float("inf"), None)] == ["18.4", "–", "–", "–", "–"]


def test_a_near_day_goes_by_its_weekday():
    assert wording.weekday(date(2024, 7, 8)) == "Mon 8 Jul"


def test_an_amount_is_written_to_the_cent_with_its_sign_before_its_currency():
    assert wording.cash(2000.5, "USD") == "$2,000.50"
    assert wording.cash(-12.004, "USD") == "−$12.00"
    assert wording.cash(12, "AUD", signed=True) == "+A$12.00"
    assert wording.cash(-0.004, "USD", signed=True) == "$0.00"
    assert wording.cash(1.5, "CHF") == "CHF 1.50"
    assert wording.cash(None, "USD") == wording.cash(float("nan"), "USD") == "–"


def test_a_time_of_day_is_the_exchanges():
    assert wording.clock(datetime(2025, 9, 17, 13, 31, 59, tzinfo=UTC), ZoneInfo("America/New_York")) == "09:31"
