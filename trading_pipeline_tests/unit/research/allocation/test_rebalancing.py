"""The calendar of decisions: first sessions, known on the day."""

from __future__ import annotations

import numpy as np
import pytest

from trading_pipeline.research.allocation.limits import AllocationError
from trading_pipeline.research.allocation.rebalancing import rebalance_rows

# Thanksgiving on 2024-11-28; Labor Day, Monday 2024-09-02; a week from Wednesday to Wednesday at the turn of the year.
DAYS = np.array(
    ["2024-08-30", "2024-09-03", "2024-09-04", "2024-09-06", "2024-09-09", "2024-12-30", "2024-12-31", "2025-01-02"],
    dtype="datetime64[D]",
)


def test_weeks_begin_with_their_first_session_and_may_span_a_year():
    chosen = DAYS[rebalance_rows(DAYS, "weekly")].astype(str).tolist()
    assert chosen == ["2024-08-30", "2024-09-03", "2024-09-09", "2024-12-30"]


def test_months_begin_with_their_first_session():
    chosen = DAYS[rebalance_rows(DAYS, "monthly")].astype(str).tolist()
    assert chosen == ["2024-08-30", "2024-09-03", "2024-12-30", "2025-01-02"]


def test_daily_is_every_session():
    assert rebalance_rows(DAYS, "daily").all()
    assert rebalance_rows(DAYS[:0], "monthly").tolist() == []


@pytest.mark.parametrize("frequency", ["daily", "weekly", "monthly"])
def test_a_truncated_or_changed_future_changes_nothing(frequency):
    random = np.random.Generator(np.random.PCG64(1))
    every = np.arange("2019-01-01", "2022-01-01", dtype="datetime64[D]")
    every = every[np.is_busday(every)]
    sessions = every[random.random(len(every)) > 0.1]
    whole = rebalance_rows(sessions, frequency)
    for cut in random.integers(1, len(sessions), 40):
        assert (rebalance_rows(sessions[:cut], frequency) == whole[:cut]).all()
        other = np.sort(random.choice(np.setdiff1d(every, sessions), 5, replace=False))
        mutated = np.concatenate([sessions[:cut], other[other > sessions[cut - 1]]])
        assert (rebalance_rows(mutated, frequency)[:cut] == whole[:cut]).all()
    if frequency != "daily":
        unit = "datetime64[M]" if frequency == "monthly" else "datetime64[W]"
        # numpy's weeks begin on Thursday: three days later, those from Monday do.
        shifted = sessions if frequency == "monthly" else sessions + 3
        assert whole.sum() == len(np.unique(shifted.astype(unit)))


@pytest.mark.parametrize(
    ("sessions", "frequency", "words"),
    [
        (DAYS, "yearly", "unknown frequency 'yearly': use one of daily, weekly, monthly"),
        (DAYS[::-1], "daily", "ascend"),
        (DAYS[[0, 0]], "weekly", "ascend"),
        (np.array(["NaT"], dtype="datetime64[D]"), "weekly", "ascend"),
    ],
)
def test_what_is_no_calendar_is_named(sessions, frequency, words):
    with pytest.raises(AllocationError, match=words):
        rebalance_rows(sessions, frequency)
