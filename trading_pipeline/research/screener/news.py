"""The tone of the news: what the articles of the last days said of each instrument, on each session.

What belongs here: weighing articles by age and relevance. What does not: the sentiment of one article.

The window is counted in calendar days, so that it needs no calendar of sessions and news of weekends counts by its own
age; 14 days never hold more than 10 sessions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.panel import Floats, Integers, Mask, Panel

WINDOW_DAYS = 14

LOOKBACK = 10
"""Sessions before the judged one whose news must be passed."""

_UNSAID = 0.5
"""Relevance of an article whose provider does not say it: tagged with the instrument, perhaps among others."""


@dataclass(frozen=True)
class Tone:
    """Of some cells: the weighted mean sentiment (NaN without an article), and whether others had articles."""

    sentiment: Floats
    elsewhere: Mask


@dataclass(frozen=True)
class NewsTone:
    """The tone by calendar day and instrument. day: the row of each session of the panel."""

    day: Integers
    sentiment: Floats
    any_news: Mask

    @classmethod
    def of(cls, news: pl.DataFrame, panel: Panel, half_life_days: float) -> NewsTone:
        """From the rows of the table `news`, whose session is the first on which the article could be read."""
        if not len(panel.sessions):
            empty = np.zeros((0, len(panel.instrument_ids)))
            return cls(np.zeros(0, dtype=np.int64), empty, np.zeros(0, dtype=np.bool_))
        first = panel.sessions[0] - np.timedelta64(WINDOW_DAYS - 1, "D")
        days: npt.NDArray[np.datetime64] = np.arange(first, panel.sessions[-1] + np.timedelta64(1, "D"))
        calendar = Panel(days, panel.instrument_ids)
        told = news.filter(pl.col("sentiment").is_finite() & (pl.col("relevance").fill_null(_UNSAID) > 0))
        relevance = told["relevance"].fill_null(_UNSAID).fill_nan(_UNSAID).to_numpy()
        cells = calendar.cells(told)
        inside = cells >= 0
        size = calendar.shape[0] * calendar.shape[1]
        sentiment = told["sentiment"].to_numpy()
        weight, tone = (
            np.bincount(cells[inside], amounts[inside], size).astype(np.float64).reshape(calendar.shape)
            for amounts in (relevance, relevance * sentiment)
        )
        on_day = calendar.rows(told["session"])
        any_day = np.bincount(on_day[on_day >= 0], minlength=len(days)) > 0
        weights, tones = _decayed(weight, half_life_days), _decayed(tone, half_life_days)
        any_news = np.convolve(any_day, np.ones(WINDOW_DAYS))[: len(days)] > 0.5
        with np.errstate(invalid="ignore"):
            mean = tones / weights
        return cls((panel.sessions - first).astype(np.int64), mean, any_news)

    def at(self, session: Integers, instrument: Integers) -> Tone:
        """Of cells of the panel by row and column."""
        day = self.day[session]
        return Tone(self.sentiment[day, instrument], self.any_news[day])


def _decayed(daily: Floats, half_life_days: float) -> Floats:
    """Sum of the last 14 days, each weighing half of the one a half-life later."""
    total = np.zeros_like(daily)
    for age in range(min(WINDOW_DAYS, len(daily))):
        total[age:] += 0.5 ** (age / half_life_days) * daily[: len(daily) - age]
    return total
