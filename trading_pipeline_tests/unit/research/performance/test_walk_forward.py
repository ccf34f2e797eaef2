"""Walk-forward: which sessions train, which test, and that nothing of the test is ever chosen by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_pipeline.research.performance.series import PerformanceError
from trading_pipeline.research.performance.walk_forward import Choice, Window, walk_forward, walk_forward_windows


def spans(windows):
    return [(w.training[0], w.training[-1], w.test[0], w.test[-1]) for w in windows]


def test_rolling_windows():
    assert spans(walk_forward_windows(10, training=4, test=2)) == [(0, 3, 4, 5), (2, 5, 6, 7), (4, 7, 8, 9)]


def test_anchored_windows_grow_from_the_first_session():
    assert spans(walk_forward_windows(10, training=4, test=2, anchored=True)) == [
        (0, 3, 4, 5),
        (0, 5, 6, 7),
        (0, 7, 8, 9),
    ]


def test_a_purge_drops_the_sessions_whose_holding_could_reach_into_the_test():
    assert spans(walk_forward_windows(8, training=4, test=2, purge=1)) == [(0, 2, 4, 5), (2, 4, 6, 7)]


def test_an_embargo_drops_the_sessions_after_every_earlier_test_from_later_trainings():
    windows = walk_forward_windows(16, training=4, test=4, anchored=True, embargo=2)
    trained = [window.training.tolist() for window in windows]
    assert trained == [[0, 1, 2, 3], list(range(8)), [*range(8), 10, 11]]


def test_as_scikit_learn_splits_with_a_gap():
    from sklearn.model_selection import TimeSeriesSplit

    for training, test, purge, tests in ((50, 10, 3, 5), (20, 20, 0, 3)):
        sessions = training + test * tests
        rolling = TimeSeriesSplit(tests, max_train_size=training - purge, test_size=test, gap=purge)
        growing = TimeSeriesSplit(tests, test_size=test, gap=purge)
        for anchored, theirs in ((False, rolling), (True, growing)):
            ours = walk_forward_windows(sessions, training=training, test=test, anchored=anchored, purge=purge)
            for window, (train_rows, test_rows) in zip(ours, theirs.split(np.zeros(sessions)), strict=True):
                assert window.training.tolist() == train_rows.tolist()
                assert window.test.tolist() == test_rows.tolist()


@settings(max_examples=150, deadline=None)
@given(
    sessions=st.integers(2, 120),
    training=st.integers(1, 40),
    test=st.integers(1, 30),
    anchored=st.booleans(),
    purge=st.integers(0, 10),
    embargo=st.integers(0, 40),
    more=st.integers(0, 40),
)
def test_what_holds_of_all_windows(sessions, training, test, anchored, purge, embargo, more):
    lengths = {"training": training, "test": test, "anchored": anchored, "purge": purge, "embargo": embargo}
    try:
        windows = walk_forward_windows(sessions, **lengths)
        longer = walk_forward_windows(sessions + more, **lengths)
    except PerformanceError:
        assume(False)
    assert np.concatenate([window.test for window in windows]).tolist() == list(range(training, sessions))
    ends = [window.test[-1] for window in windows]
    for window, same in zip(windows, longer, strict=False):
        assert window.training[-1] < window.test[0] - purge
        assert (np.diff(window.training) > 0).all()
        for end in ends:
            if end < window.test[0] - 1:
                assert not np.isin(window.training, np.arange(end + 1, end + 1 + embargo)).any()
        assert window.training.tolist() == same.training.tolist(), "later sessions change no training"
        assert window.test.tolist() == same.test[: len(window.test)].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sessions": 10, "training": 10, "test": 2}, "leaves none of the 10"),
        ({"sessions": 10, "training": 0, "test": 2}, "a session at least"),
        ({"sessions": 10, "training": 4, "test": 2, "purge": -1}, "0 or more"),
        ({"sessions": 10, "training": 4, "test": 2, "purge": 4}, "leave nothing of the training of 4 before window 0"),
        ({"sessions": 40, "training": 4, "test": 4, "embargo": 4}, "before window 2"),
    ],
)
def test_lengths_that_leave_nothing_are_named(arguments, words):
    with pytest.raises(PerformanceError, match=words):
        walk_forward_windows(**arguments)


# --- the runner: momentum over 5 or 20 sessions, chosen by what it earned ------------------------------------------

MARKET = 0.01 * np.random.Generator(np.random.PCG64(5)).standard_normal(600)
WINDOWS = walk_forward_windows(len(MARKET), training=120, test=60, purge=1, embargo=5)


def held(market, lookback):
    """Return of every session of who holds after a rise over `lookback` sessions."""
    level = np.concatenate([[0.0], np.cumsum(market)])
    rows = np.arange(len(market))
    rise = level[rows] - level[np.maximum(rows - lookback, 0)]
    return np.where(rise > 0, market, 0.0)


def walked(market, choose_beyond=0):
    def choose(rows):
        seen = np.unique(np.minimum(np.concatenate([rows, rows + choose_beyond]), len(market) - 1))
        earned = {lookback: held(market, lookback)[seen].sum() for lookback in (2, 5, 10, 20, 40)}
        best = max(earned, key=earned.get)
        return Choice(best, earned[best], len(earned))

    return walk_forward(WINDOWS, choose, lambda lookback, rows: held(market, lookback)[rows])


def test_the_tests_are_joined_with_the_parameters_each_training_chose():
    result = walked(MARKET)
    assert result.rows.tolist() == list(range(120, 600))
    assert result.window.tolist() == np.repeat(np.arange(8), 60).tolist()
    assert len({choice.parameters for choice in result.choices}) > 1
    for window, choice in zip(WINDOWS, result.choices, strict=True):
        assert (result.returns[result.window == window.number] == held(MARKET, choice.parameters)[window.test]).all()
        assert choice.trials == 5
        assert choice.score == held(MARKET, choice.parameters)[window.training].sum()


def _changed_choices(choose_beyond):
    """Windows before a mutated future whose choice it changed."""
    whole = walked(MARKET, choose_beyond)
    changed = []
    for window in WINDOWS:
        mutated = MARKET.copy()
        mutated[window.test[0] :] = 0.05 * np.random.Generator(np.random.PCG64(window.number)).standard_normal(
            len(MARKET) - window.test[0]
        )
        again = walked(mutated, choose_beyond)
        assert (again.returns[: window.test[0] - 120] == whole.returns[: window.test[0] - 120]).all() or choose_beyond
        if again.choices[: window.number + 1] != whole.choices[: window.number + 1]:
            changed.append(window.number)
    return changed


def test_mutating_everything_from_a_test_on_changes_no_choice_up_to_it():
    assert _changed_choices(choose_beyond=0) == []


def test_a_choice_that_looks_into_the_test_is_changed_by_the_mutation():
    assert len(_changed_choices(choose_beyond=60)) >= 3


def test_neither_choose_nor_run_can_change_the_windows():
    def spoil(rows):
        rows[:] = 0
        return Choice(None)

    windows = walk_forward_windows(10, training=4, test=2)
    walk_forward(windows, spoil, lambda _, rows: spoil(rows) and np.zeros(len(rows)))
    assert spans(windows) == spans(walk_forward_windows(10, training=4, test=2))


@pytest.mark.parametrize(
    ("windows", "run", "words"),
    [
        ([], None, "no window"),
        (WINDOWS, lambda *_: np.zeros(3), "window 0 with 7 must return 60 finite returns: got"),
        (WINDOWS, lambda _, rows: np.full(len(rows), np.nan), "with 60 that are none"),
        ([Window(0, np.arange(5), np.arange(4, 8))], None, "reaches into its test"),
        ([Window(0, np.arange(0), np.arange(4, 8))], None, "is empty"),
        ([WINDOWS[0], replace(WINDOWS[0], number=1)], lambda _, rows: np.zeros(len(rows)), "window 1 overlaps"),
    ],
)
def test_what_cannot_be_walked_is_named(windows, run, words):
    with pytest.raises(PerformanceError, match=words):
        walk_forward(windows, lambda rows: Choice(7), run)
