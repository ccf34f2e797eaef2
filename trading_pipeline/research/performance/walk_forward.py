"""Walk-forward: parameters chosen on what was known, judged on what came after.

What belongs here: the windows and the runner. What does not: what is tried and how it is judged (the caller's `choose`
and `run`), and what is told of the joined returns (`metrics.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.performance.series import PerformanceError

P = TypeVar("P")


@dataclass(frozen=True)
class Window:
    """Rows of a training and of the test that follows it; both ascending, the training entirely before the test.

    The training may have holes, where an embargo left sessions out.
    """

    number: int
    training: Integers
    test: Integers


@dataclass(frozen=True)
class Choice(Generic[P]):
    """What a training window chose. score: how it did there; trials: how many were tried, for the deflated Sharpe."""

    parameters: P
    score: float | None = None
    trials: int = 1


@dataclass(frozen=True)
class WalkForward(Generic[P]):
    """The test windows, joined. rows, returns, window: one a tested session; choices: one a window, in order."""

    rows: Integers
    returns: Floats
    window: Integers
    choices: tuple[Choice[P], ...]


def walk_forward_windows(
    sessions: int, *, training: int, test: int, anchored: bool = False, purge: int = 0, embargo: int = 0
) -> tuple[Window, ...]:
    """Windows over so many sessions: the tests follow each other without a gap, the first after `training` sessions.

    anchored: trainings begin at the first session and grow; else they are the `training` sessions before their test.
    purge: the last sessions of a training are left out whose holding could reach into the test (the longest holding).
    embargo: sessions after every earlier test are left out of the later trainings, because what was held in that test
    moves them too (Lopez de Prado, Advances in Financial Machine Learning, 2018, chapter 7). The last test may be
    shorter, so that a session more changes no window before it. Lengths are in sessions; `PerformanceError` where they
    leave no training or no test.
    """
    if min(training, test) < 1 or min(purge, embargo) < 0:
        raise PerformanceError(
            f"training and test must be of a session at least, purge and embargo of 0 or more: "
            f"got {training}, {test}, {purge} and {embargo}"
        )
    if sessions <= training:
        raise PerformanceError(
            f"a training of {training} sessions leaves none of the {sessions} there are for a test: shorten it"
        )
    windows = []
    for number, begin in enumerate(range(training, sessions, test)):
        rows = np.arange(0 if anchored else begin - training, begin - purge)
        after_test = (rows >= training + test) & ((rows - training) % test < embargo)
        kept = rows[~after_test]
        if not len(kept):
            raise PerformanceError(
                f"a purge of {purge} and an embargo of {embargo} sessions leave nothing of the training of {training} "
                f"before window {number}: shorten them"
            )
        windows.append(Window(number, kept, np.arange(begin, min(begin + test, sessions))))
    return tuple(windows)


def walk_forward(
    windows: Sequence[Window], choose: Callable[[Integers], Choice[P]], run: Callable[[P, Integers], Floats]
) -> WalkForward[P]:
    """Choose on each training, run on the test after it, and join the tests.

    choose: rows of a training → what is best on these sessions; it is given nothing of the test. run: the chosen
    parameters and the rows of the test → one return a row; decisions may rest on any session before. `PerformanceError`
    where windows overlap or a training reaches its test, or a run returns something else than finite returns.
    """
    if not windows:
        raise PerformanceError("there is no window to walk: give a longer history or shorter windows")
    tested = -1
    returns, choices = [], []
    for window in windows:
        if not len(window.training) or not len(window.test) or window.training.max() >= window.test.min():
            raise PerformanceError(f"the training of window {window.number} is empty or reaches into its test")
        if window.test.min() <= tested:
            raise PerformanceError(f"the test of window {window.number} overlaps the one before it")
        tested = int(window.test.max())
        choice = choose(window.training.copy())
        made = np.asarray(run(choice.parameters, window.test.copy()), dtype=np.float64)
        if made.shape != window.test.shape or not np.isfinite(made).all():
            raise PerformanceError(
                f"the run of window {window.number} with {choice.parameters} must return {len(window.test)} finite "
                f"returns: got {made.shape} with {int((~np.isfinite(made)).sum())} that are none"
            )
        choices.append(choice)
        returns.append(made)
    lengths = [len(window.test) for window in windows]
    return WalkForward(
        rows=np.concatenate([window.test for window in windows]),
        returns=np.concatenate(returns),
        window=np.repeat([window.number for window in windows], lengths),
        choices=tuple(choices),
    )
