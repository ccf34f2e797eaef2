"""Sentiment: fade the over-reaction of a price to a spike in the day's news.

Tetlock, Giving Content to Investor Sentiment, Journal of Finance 62 (2007): pressure by the tone of the news reverts.
A spike is a day whose mean sentiment is far from what is normal for the instrument, on enough articles to mean
something; an over-reaction is a move far larger than its ordinary ones on that bar.

Measures it reads, both of what was published by the session's close:

- `sentiment`: mean of the articles' sentiment, -1 to 1; NaN: no article.
- `articles`: how many articles there were; NaN: none.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, shift, window_sum
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import decided, own_moves, within

LEAST_SPREAD = 0.02
"""Of sentiment: below it the normal days are so alike that any other day would be a spike."""


class SentimentParameters(StrategyParameters):
    """What counts as a spike and as an over-reaction, and how long to wait for its reversal.

    normal: sessions before the judged one that say what is normal; least_days: days with news among them. spike: z of
    the day's sentiment; least_articles: of that day. move_window: own bars that say what an ordinary move is; move: z
    of the bar's log return. reaction: whether the price went the way of the news (`with`: it went too far), the other
    way (`against`: it missed the news), or either. stop: share of the price, None: none.
    """

    normal: int = Field(63, ge=5, le=252)
    least_days: int = Field(10, ge=3, le=252)
    spike: float = Field(2.0, gt=0, le=10)
    least_articles: int = Field(3, ge=1, le=1000)
    move_window: int = Field(63, ge=10, le=252)
    move: float = Field(2.0, gt=0, le=10)
    reaction: Literal["with", "against", "either"] = "with"
    most_sessions: int = Field(5, ge=1, le=63)
    sides: Literal["long", "both"] = "long"
    stop: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _possible(self) -> SentimentParameters:
        if self.least_days > self.normal:
            raise ValueError(f"least_days ({self.least_days}) must not exceed normal ({self.normal})")
        return self


class Sentiment(Strategy):
    """Enters against the move on the bar of a spike; leaves `most_sessions` later, or when the opposite is entered.

    Confidence is half where the news is only just a spike and full at twice its z.
    """

    name: ClassVar[str] = "sentiment"
    description: ClassVar[str] = "Buys after a price over-reacts to a burst of unusual news, and sells days later."
    Parameters: ClassVar[type[StrategyParameters]] = SentimentParameters
    needs: ClassVar[tuple[str, ...]] = ("sentiment", "articles")
    parameters: SentimentParameters

    @property
    def warm_up(self) -> int:
        """What says what is normal, the gaps there may be between its bars, and how long a position may wait."""
        return max(self.parameters.normal, self.parameters.move_window + GAP) + 2 * GAP + self.parameters.most_sessions

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decided on 9 decimals of the z-scores."""
        asked = self.parameters
        enough = panel.measures["articles"] >= asked.least_articles
        news = news_z(panel.measures["sentiment"], asked.normal, asked.least_days)
        move = move_z(panel.close, asked.move_window)
        fell, rose = move <= -asked.move, move >= asked.move
        bad, good = enough & (news <= -asked.spike), enough & (news >= asked.spike)
        either = bad | good
        after_fall = {"with": bad, "against": good, "either": either}[asked.reaction]
        after_rise = {"with": good, "against": bad, "either": either}[asked.reaction]
        # Without a bar there is no move, so neither is ever on a session without one.
        entries, short_entries = fell & after_fall, rose & after_rise
        both = asked.sides == "both"
        result = SignalResult.of(
            entries,
            ~within(entries, asked.most_sessions) | short_entries,
            short_entries=short_entries if both else None,
            short_exits=~within(short_entries, asked.most_sessions) | entries if both else None,
            confidence=np.minimum(np.abs(np.nan_to_num(news, nan=0.0)) / (2 * asked.spike), 1.0),
            stop_distance=None if asked.stop is None else np.full(panel.shape, asked.stop),
        )
        return decided(result, panel, self.warm_up)


def news_z(sentiment: Floats, normal: int, least_days: int) -> Floats:
    """How far a day's sentiment is from the mean of the days with news in the `normal` sessions before it.

    In their sample standard deviations, those at least `LEAST_SPREAD`; rounded to 9 decimals. NaN without news on the
    day or with fewer than `least_days` before it.
    """
    known = np.isfinite(sentiment)
    clean = np.where(known, sentiment, 0.0)
    days, total, squares = (
        shift(window_sum(each, normal), 1, 0.0) for each in (known.astype(np.float64), clean, clean**2)
    )
    usable = known & (days >= least_days)
    count = np.where(usable, days, np.nan)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0) * count / (count - 1)
    return np.asarray(np.round((sentiment - mean) / np.maximum(np.sqrt(variance), LEAST_SPREAD), 9))


def move_z(close: Floats, window: int) -> Floats:
    """A bar's log return in the root mean square of the `window` returns before it, rounded to 9 decimals.

    Around 0, not around their mean, which is far smaller than its own error. NaN where one of the returns is not a
    proper change (a gap of more than `GAP` sessions), the bars do not lie within `window` and twice `GAP` sessions, or
    the price did not move.
    """
    own, move = own_moves(close)
    ordinary = np.sqrt(shift(window_sum(move**2, window), 1) / window)
    proper = shift(window_sum(own.follows.astype(np.float64), window), 1, 0.0) == window
    usable = own.follows & proper & (own.within(window + 2 * GAP) > window + 1) & (ordinary > 1e-9)
    score: Floats = np.where(usable, move / np.where(usable, ordinary, 1.0), np.nan)
    return own.unpack(np.round(score, 9))
