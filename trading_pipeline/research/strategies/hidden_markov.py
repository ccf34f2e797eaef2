"""Regimes of a market by a hidden Markov model: fitted on the past alone, read forward alone.

What belongs here: what the model observes, its fit, its forward recursion, and the walk of both through the sessions.
What does not: what anybody trades by it (`regime_momentum.py`), and the graded regime of the pipeline's own tables
(`research/regime.py`).

hmmlearn fits the parameters (Baum and Welch) on a trailing window. It never reads states: its `predict` and
`predict_proba` are paths and smoothed probabilities of the whole series, in which every session is judged by what came
after it. The probabilities published here are filtered, P(state of t | observations up to t), by the forward recursion
(Rabiner, A Tutorial on Hidden Markov Models, Proceedings of the IEEE 77, 1989, section III.A) in logarithms.

States are numbered by volatility, the wildest first, because that is what tells regimes apart reliably: over a year of
sessions the mean return of a state is known no better than to its own size, its volatility to a few per cent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from trading_pipeline.research.panel import GAP, Floats, Integers, Mask, window_sum
from trading_pipeline.research.strategies.conditions import LONGEST, latest, opens_period, own_moves

SPAN = 10
"""Bars of the realised volatility that is observed: short enough to see a change within days."""

LEAST_KNOWN = 0.9
"""Of the window's sessions that must have an observation."""

LEAST_OCCUPIED = 0.02
"""Share of the window that a state must explain; one that explains less has found a few outliers, not a regime."""

ITERATIONS, TOLERANCE = 300, 1e-2
"""Of Baum-Welch; the tolerance is on the log likelihood of the whole window."""


@dataclass(frozen=True)
class HiddenMarkov:
    """A fitted model: start (states), transition (states x states, rows sum to 1), mean and variance (states x 2).

    States by falling volatility. log_likelihood: of the window it was fitted on.
    """

    start: Floats
    transition: Floats
    mean: Floats
    variance: Floats
    log_likelihood: float


@dataclass(frozen=True)
class WalkForward:
    """probability: sessions x states, filtered, NaN before the first fit and where no start converged.

    fitted_at: row of the fit that each session is judged by, -1 where there is none. models: by the row of their fit.
    """

    probability: Floats
    fitted_at: Integers
    models: dict[int, HiddenMarkov]


def observations(close: Floats) -> Floats:
    """Sessions x 2: the log return since the bar before in per cent, and the log of the volatility of `SPAN` returns.

    close: one series. The volatility is the root mean square, in per cent. NaN in both where there is no bar, the bars
    are not complete, or no price moved.
    """
    own, move = own_moves(close[:, None])
    ordinary = np.sqrt(window_sum(move**2, SPAN) / SPAN)
    proper = window_sum(own.follows.astype(np.float64), SPAN) == SPAN
    usable = proper & (own.within(SPAN + 2 * GAP) > SPAN) & (ordinary > 1e-9)
    columns = (move * 100, np.log(np.where(usable, ordinary, 1.0) * 100))
    return np.column_stack([own.unpack(np.where(usable, each, np.nan))[:, 0] for each in columns])


def fitted(observed: Floats, states: int, starts: int, seed: int) -> HiddenMarkov | None:
    """The likeliest of the models that Baum-Welch reaches from several starts; None where none is usable.

    observed: as of `observations`; rows with NaN are left out. Usable is a model that has converged and whose states
    all explain at least `LEAST_OCCUPIED` of the window. The first start cuts the sessions into states of equal share
    by their volatility, the others into random shares of a generator seeded anew for every fit: the same window and
    seed give the same model.
    """
    from hmmlearn.hmm import GaussianHMM
    from threadpoolctl import threadpool_limits

    known = observed[np.isfinite(observed).all(axis=1)]
    random = np.random.default_rng(seed)
    rank = np.argsort(np.argsort(-known[:, 1], kind="stable"), kind="stable") / max(len(known), 1)
    best: HiddenMarkov | None = None
    # Products of a thousand rows: more than one thread takes ten times as long where cores are shared.
    with threadpool_limits(limits=1), _quiet():
        for attempt in range(starts):
            shares = np.full(states, 1 / states) if attempt == 0 else random.dirichlet(np.full(states, 4.0))
            group = np.searchsorted(np.cumsum(shares)[:-1], rank, "right")
            if np.bincount(group, minlength=states).min() < 2:
                continue
            model = GaussianHMM(
                states, "diag", n_iter=ITERATIONS, tol=TOLERANCE, init_params="", implementation="scaling"
            )
            stay = 0.95 if attempt == 0 else random.uniform(0.85, 0.99)
            model.startprob_ = np.full(states, 1 / states)
            model.transmat_ = np.where(np.eye(states, dtype=np.bool_), stay, (1 - stay) / (states - 1))
            model.means_ = np.array([known[group == each].mean(axis=0) for each in range(states)])
            model.covars_ = np.array([known[group == each].var(axis=0) + 1e-3 for each in range(states)])
            found = _model_of(model.fit(known))
            if found is not None and (best is None or found.log_likelihood > best.log_likelihood):
                best = found
    return best


@contextmanager
def _quiet() -> Iterator[None]:
    """hmmlearn warns of falls of the likelihood in its twelfth digit; `_model_of` judges what they are worth."""
    logger = logging.getLogger("hmmlearn.base")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _model_of(model: object) -> HiddenMarkov | None:
    """A fit of hmmlearn with its states in order; None where it is not usable."""
    transition, mean = model.transmat_, model.means_  # type: ignore[attr-defined]
    variance = np.diagonal(model.covars_, axis1=1, axis2=2)  # type: ignore[attr-defined]
    monitor = model.monitor_  # type: ignore[attr-defined]
    whole = all(np.isfinite(each).all() for each in (transition, mean, variance))
    # hmmlearn calls a fit converged as well when it ran out of iterations.
    converged = monitor.iter < ITERATIONS
    # A fall of the likelihood is rounding at the end of the climb; what falls by more went astray.
    if not whole or not converged or not np.allclose(transition.sum(axis=1), 1):
        return None
    if np.diff(monitor.history).min(initial=0.0) < -1.0 or stationary(transition).min() < LEAST_OCCUPIED:
        return None
    order = np.argsort(-mean[:, 1], kind="stable")
    return HiddenMarkov(
        model.startprob_[order],  # type: ignore[attr-defined]
        transition[np.ix_(order, order)],
        mean[order],
        variance[order],
        float(monitor.history[-1]),
    )


def stationary(transition: Floats) -> Floats:
    """The share of time that a chain spends in each state in the long run."""
    states = len(transition)
    equations = np.vstack([transition.T - np.eye(states), np.ones(states)])
    return np.asarray(np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0])


def log_densities(models: Sequence[HiddenMarkov], observed: Floats) -> Floats:
    """Models x sessions x states: log density of the session's observation; 0 where there is none, which says nothing.

    observed: models x sessions x 2.
    """
    mean, variance = (np.stack([getattr(each, name) for each in models]) for name in ("mean", "variance"))
    known: Mask = np.asarray(np.isfinite(observed).all(axis=2))
    clean = np.where(known[:, :, None], observed, 0.0)
    squares = (clean[:, :, None, :] - mean[:, None]) ** 2 / variance[:, None]
    density = -0.5 * (squares + np.log(2 * np.pi * variance)[:, None]).sum(axis=3)
    return np.where(known[:, :, None], density, 0.0)


@np.errstate(divide="ignore")
def filtered(start: Floats, transition: Floats, log_density: Floats) -> Floats:
    """P(state of t | observations up to t) by the forward recursion, models x sessions x states.

    start: models x states, of the first session. transition: models x states x states. log_density: models x sessions x
    states. All models are walked at once; the recursion over sessions has no closed form.
    """
    moves = np.log(transition)
    out = np.empty(log_density.shape)
    state = np.log(start)
    for session in range(log_density.shape[1]):
        if session:
            paths = state[:, :, None] + moves
            top = paths.max(axis=1)
            state = top + np.log(np.exp(paths - top[:, None]).sum(axis=1))
        state = state + log_density[:, session]
        top = state.max(axis=1, keepdims=True)
        state = state - (top + np.log(np.exp(state - top).sum(axis=1, keepdims=True)))
        out[:, session] = np.exp(state)
    return out


def reach(window: int, months: int) -> int:
    """Sessions before the first one that can be judged: a fit's window, what its first row looks at, a whole period."""
    return _first_fit(window) + LONGEST[months]


def _first_fit(window: int) -> int:
    return window + SPAN + 2 * GAP


def walk_forward(
    close: Floats, sessions: np.ndarray, *, states: int, window: int, months: int, starts: int, seed: int
) -> WalkForward:
    """Regimes of every session: refitted on the first session of a period of `months` months, on the `window` up to it.

    close: of the market, NaN where it has no bar. sessions: datetime64[D]. A session is judged by the latest model
    fitted up to it, filtered from the beginning of that model's window. So its probabilities depend on the `reach`
    sessions up to it and on nothing else: neither on what came later nor on how long the panel is. A session without a
    bar of the market is judged by the transitions alone.
    """
    observed = observations(close)
    fits = np.flatnonzero(opens_period(sessions, months))
    fits = fits[fits >= _first_fit(window)]
    models: dict[int, HiddenMarkov] = {}
    for row in fits.tolist():
        seen = observed[row - window + 1 : row + 1]
        if np.isfinite(seen).all(axis=1).sum() >= LEAST_KNOWN * window:
            model = fitted(seen, states, starts, seed)
            if model is not None:
                models[row] = model
    moments: Mask = np.zeros(len(close), dtype=np.bool_)
    moments[fits] = True
    fitted_at = latest(moments)
    fitted_at[~np.isin(fitted_at, list(models))] = -1
    probability = np.full((len(close), states), np.nan)
    if models:
        rows = np.array(list(models))
        # Every model is walked as many sessions as a period can hold, so that cutting the panel changes no shape.
        at = rows[:, None] + np.arange(1 - window, LONGEST[months])
        padded = np.concatenate([observed, np.full((LONGEST[months], 2), np.nan)])
        each = list(models.values())
        walked = filtered(
            np.stack([model.start for model in each]),
            np.stack([model.transition for model in each]),
            log_densities(each, padded[at]),
        )
        judged = np.flatnonzero(fitted_at >= 0)
        number = np.searchsorted(rows, fitted_at[judged])
        probability[judged] = walked[number, judged - fitted_at[judged] + window - 1]
    return WalkForward(probability, fitted_at, models)
