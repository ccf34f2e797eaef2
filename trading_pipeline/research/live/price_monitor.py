"""The price monitor: names that have fallen far today, each told once a session.

What belongs here: finding the falls. What does not: whom they are told to (`alerts/`), and dips from the 52-week high
(`research/dips.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trading_pipeline.research.live.context import SessionContext
from trading_pipeline.research.live.features import MOMENT, moments
from trading_pipeline.research.live.rules import MonitorRules
from trading_pipeline.research.panel import Floats, Mask

PREVIOUS_CLOSE, SESSION_HIGH = "previous_close", "session_high"

FALL_COLUMNS = pl.Schema(
    {
        "session": pl.Date(),
        "instrument_id": pl.String(),
        "ticker": pl.String(),
        "tick_at": MOMENT,
        "bar_started_at": MOMENT,
        "price": pl.Float64(),
        "reference": pl.String(),
        "reference_price": pl.Float64(),
        "fall_pct": pl.Float64(),
    }
)
"""What an alert says. reference: previous_close or session_high, whichever lies further above. fall_pct: below 0."""


class PriceMonitor:
    """Watches the closes of bars against yesterday's close and against the session's high so far.

    The closes alone alert: a low is often a single bad print. A name is told once, at the first bar whose close is
    `fall_pct` below either. State: the high so far and who was told, a fold of the rows the features return.
    """

    def __init__(self, context: SessionContext, rules: MonitorRules) -> None:
        self._context = context
        self._limit = rules.fall_pct
        self.high: Floats = np.full(len(context.ids), np.nan)
        self.told: Mask = np.zeros(len(context.ids), dtype=np.bool_)

    def advance(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`FALL_COLUMNS` of names told for the first time, by instrument.

        rows: what `SessionFeatures.advance` returned (or stored rows of `live_loop_logs`): [instrument_id, tick_at,
        bar_started_at, high, close], several bars a name in any order. Rows of other instruments are left out.
        """
        name = self._context.positions.of(rows["instrument_id"])
        order = np.flatnonzero(name >= 0)
        order = order[np.lexsort((moments(rows["bar_started_at"])[order], name[order]))]
        name, high, close = name[order], rows["high"].to_numpy()[order], rows["close"].to_numpy()[order]
        if (np.diff(name) == 0).any():
            bars = pl.DataFrame({"name": name, "high": high})
            high = bars.select(pl.col("high").cum_max().over("name"))["high"].to_numpy()
        high = np.fmax(high, self.high[name])
        self.high[name] = high  # the last bar of a name is written last
        references = np.stack([self._context.previous_close[name], high])
        falls = np.round(100 * (close / references - 1), 9)
        from_high = ~(falls[0] <= falls[1])
        worst = np.fmin(falls[0], falls[1])
        rows_told = np.flatnonzero((worst <= -self._limit) & ~self.told[name])
        if not len(rows_told):
            return pl.DataFrame(schema=FALL_COLUMNS)
        rows_told = rows_told[np.unique(name[rows_told], return_index=True)[1]]
        self.told[name[rows_told]] = True
        deeper = from_high[rows_told]
        return rows[order[rows_told]].select(
            session=pl.lit(self._context.session),
            instrument_id="instrument_id",
            ticker=self._context.names["ticker"].gather(name[rows_told]),
            tick_at="tick_at",
            bar_started_at="bar_started_at",
            price="close",
            reference=pl.Series(np.where(deeper, SESSION_HIGH, PREVIOUS_CLOSE)),
            reference_price=pl.Series(np.where(deeper, references[1][rows_told], references[0][rows_told])),
            fall_pct=pl.Series(worst[rows_told]),
        )

    def resume(self, logs: pl.DataFrame) -> pl.DataFrame:
        """Folds stored rows of `live_loop_logs` in and returns what was told of them, as `advance` did."""
        return self.advance(logs)
