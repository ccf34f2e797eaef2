"""Liquidity: how much of an instrument changes hands, in money.

What belongs here: measures of trading volume for the gate. What does not: the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.panel import OwnBars, Panel, window_sum

LENGTH = 20
WINDOW = 40
"""Sessions the bars of an average span at most: a name that trades less often has no daily volume to speak of."""

LOOKBACK = 60
"""Sessions before the judged one whose bars must be passed: leaves room for sessions without any bar."""


def dollar_volume(bars: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """[session, instrument_id, dollar_volume_20]: mean of close x volume over the last 20 own bars, this one included.

    bars: [session, instrument_id, close, volume] as traded, one version of each bar, bad ones left out, from LOOKBACK
    sessions before the first judged one. In the currency of the quote; a split changes neither, so no actions are
    needed. A row for every bar of the judged sessions, by session and instrument; null with fewer than 20 bars within
    40 sessions.
    """
    panel = Panel.of(bars)
    arrays = panel.from_long(bars, ["close", "volume"])
    traded = arrays["close"] * arrays["volume"]
    valid = np.isfinite(traded) & (arrays["close"] > 0)
    own = OwnBars(valid)
    mean = np.where(own.within(WINDOW) >= LENGTH, window_sum(own.pack(traded, 0.0), LENGTH) / LENGTH, np.nan)
    rows = panel.rows(pl.Series(list(sessions), dtype=pl.Date))
    judged = np.zeros(panel.shape, dtype=np.bool_)
    judged[rows[rows >= 0]] = valid[rows[rows >= 0]]
    return panel.to_long(judged, {"dollar_volume_20": own.unpack(mean)})
