"""What was planted inside the sessions of the simulated market, as frames to compare findings with.

What belongs here: the answers, and how often they could have been found. What does not: what was planted in the
sessions themselves (`simulated/truth.py`). Moments are UTC; `session` is the local date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints
from trading_pipeline.providers.simulated.market import SimulatedMarket
from trading_pipeline.providers.simulated.minutes.panel import (
    MinutePanel,
    daily_cents,
    minute_panel,
    null_minutes,
    repeated_minutes,
)
from trading_pipeline.providers.simulated.minutes.path import excursions, far, restlessness, trends
from trading_pipeline.providers.simulated.minutes.plan import (
    LASTING_SIZE,
    LASTING_SURGE,
    REVERTING_SHARE,
    REVERTING_SIZE,
    REVERTING_SURGE,
    SURGE_DEVIATION,
)
from trading_pipeline.providers.simulated.minutes.provider import stormed_minutes
from trading_pipeline.tables import MOMENT

PATTERNS: Final = ("reverting", "lasting", "trend", "ordinary")
_BLOCK: Final = 5  # minutes of a step that the reference finder of trends looks at
_BINS: Final = 40
_MINUTE: Final = np.timedelta64(1, "m")


@dataclass(frozen=True)
class _Found:
    """What one session holds.

    frames: by the name of the question. drawn: 3 x excursions: size, log surge, whether it lasts. evenness: 2 x
    sessions that could be a trend: how even they were, whether they are one.
    """

    frames: dict[str, pl.DataFrame]
    drawn: Floats
    evenness: Floats


class IntradayTruth:
    """The known answers inside the sessions from `first` to `last` of one market.

    The first question builds the minutes of all these sessions, once: 26 sessions of 122 rows take 0.9 s.
    """

    def __init__(self, market: SimulatedMarket, first: date, last: date) -> None:
        self._positions = range(market.position(first), market.position(last, after=True))
        self._market = market.reach(max(self._positions.stop - 1, 0))

    def excursions(self) -> pl.DataFrame:
        """session, ticker, instrument_id, started_at, kind, size, half_life, surge; by session and ticker.

        kind: reverting (half of it is given back within `half_life` minutes, and half of the rest) or lasting (null
        then). size: log move of the minute that starts there, as told; the bend that fits a session to its daily bar
        stretches or shrinks it a little. surge: factor of that minute's volume.
        """
        return self._frame("excursions")

    def trend_days(self) -> pl.DataFrame:
        """session, ticker, instrument_id, direction (up, down): sessions that went evenly from open to close.

        Every other one that went as far did so within 10 to 30 % of the session.
        """
        return self._frame("trend_days")

    def halts(self) -> pl.DataFrame:
        """session, ticker, instrument_id, from, to (not included): nothing was traded in between."""
        return self._frame("halts")

    def stale_feeds(self) -> pl.DataFrame:
        """session, ticker, instrument_id, from, to: bars that begin in between are told from `to` on."""
        return self._frame("stale_feeds")

    def late_bars(self) -> pl.DataFrame:
        """session, ticker, instrument_id, started_at, told_at: bars that are told only from that moment on."""
        return self._frame("late_bars")

    def faults(self) -> pl.DataFrame:
        """session, ticker, instrument_id, fault (null_bar, duplicate, off_grid), started_at.

        Of one-minute bars; every other one is sound. Of off_grid, `started_at` is null: wherever bars of the session
        are asked for during regular hours, of whatever length, the price of that moment is told as a last row.
        """
        return self._frame("faults")

    def storms(self) -> pl.DataFrame:
        """session, half_hour (of the local day, 0 to 47), ticker: whose first request in it is answered with 429."""
        rows: list[tuple[date, int, str]] = []
        register = self._market.register
        indices = [self._market.name_of_row(row) for row in self._market.index_rows]
        for position in self._positions:
            day: date = self._market.sessions[position].item()
            numbers = register.number[:, position].tolist()
            listed = sorted([*indices, *(register.symbol_of_number(number) for number in numbers if number >= 0)])
            for half_hour in range(48):
                hit = stormed_minutes(self._market.draws, day, half_hour, listed)
                rows.extend((day, half_hour, symbol) for symbol in hit)
        schema = {"session": pl.Date, "half_hour": pl.Int64, "ticker": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def ceiling(self) -> pl.DataFrame:
        """pattern, planted (how many there are), ceiling: the share of them that the reference finder calls rightly.

        reverting, lasting: at the minute of an excursion, by its size and surge. The reference finder is given both as
        they were drawn, and the model they were drawn from; Bayes' rule decides, so that no finder that looks no
        further than that minute is expected to be right more often over both.

        trend, ordinary: at the middle of a session that could be a trend, by how evenly it went so far: the move from
        the open over the root of the summed squares of its five-minute steps, all in units of what is usual at that
        time of day. The reference finder is given how often each value (of 40 classes) belongs to either, over the
        sessions told here; no finder that reads the same class is right more often over both. Patterns that are not
        there have a null share.
        """
        size, surge, lasting = np.concatenate([np.empty((3, 0)), *(found.drawn for found in self._found)], axis=1)
        lasts = _lasting_by_bayes(size, surge)
        evenness, planted = np.concatenate([np.empty((2, 0)), *(found.evenness for found in self._found)], axis=1)
        trend, called = planted.astype(bool), _trend_by_class(evenness, planted)
        truly = lasting.astype(bool)
        cases = ((~truly, ~lasts), (truly, lasts), (trend, called), (~trend, ~called))
        return pl.DataFrame(
            {
                "pattern": PATTERNS,
                "planted": [int(true.sum()) for true, _ in cases],
                "ceiling": [float((true & said).sum() / true.sum()) if true.any() else None for true, said in cases],
            },
            schema={"pattern": pl.String, "planted": pl.Int64, "ceiling": pl.Float64},
        )

    @cached_property
    def _found(self) -> list[_Found]:
        """What each session holds."""
        return [self._look(position) for position in self._positions]

    def _look(self, position: int) -> _Found:
        panel = minute_panel(self._market, position)
        bars, alive = daily_cents(self._market, position)
        everybody = np.repeat(np.array([panel.plan.outage]), len(alive), axis=0)
        row = np.flatnonzero(excursions(panel.plan, bars))
        drawn = np.stack([panel.plan.size[row], np.log(panel.plan.surge[row]), panel.plan.lasting[row]])
        trend = np.flatnonzero(trends(panel.plan, bars) & alive)
        up = (bars[trend, 3] > bars[trend, 0]).astype(np.int64)
        return _Found(
            frames={
                "excursions": self._excursions(panel, row),
                "trend_days": self._of(panel, trend).with_columns(direction=pl.Series(["down", "up"]).gather(up)),
                "halts": self._stretches(panel, alive, panel.plan.halt),
                "stale_feeds": pl.concat(
                    [self._stretches(panel, alive, stretch) for stretch in (panel.plan.stale, everybody)]
                ),
                "late_bars": self._late(panel),
                "faults": self._faults(panel, alive),
            },
            drawn=drawn,
            evenness=self._evenness(panel, bars, alive),
        )

    def _frame(self, name: str) -> pl.DataFrame:
        frame = pl.concat([found.frames[name] for found in self._found])
        return frame.sort("session", "ticker", *frame.columns[3:])

    def _excursions(self, panel: MinutePanel, row: Ints) -> pl.DataFrame:
        column = panel.regular.start + panel.plan.excursion[row]
        lasting = panel.plan.lasting[row]
        size = np.log(panel.prices.close[row, column] / panel.prices.close[row, column - 1])
        half_life = pl.Series(np.where(lasting, np.nan, panel.plan.half_life[row]), dtype=pl.Float64)
        return self._of(panel, row).with_columns(
            started_at=_moments(panel, column),
            kind=pl.Series(["reverting", "lasting"]).gather(lasting.astype(np.int64)),
            size=pl.Series(size, dtype=pl.Float64),
            half_life=half_life.fill_nan(None),
            surge=pl.Series(panel.plan.surge[row], dtype=pl.Float64),
        )

    def _late(self, panel: MinutePanel) -> pl.DataFrame:
        late = np.zeros(panel.there.shape, dtype=np.int64)
        late[:, panel.regular] = panel.plan.late
        row, column = np.nonzero((late > 0) & panel.there)
        return self._of(panel, row).with_columns(
            started_at=_moments(panel, column), told_at=_moments(panel, panel.told[row, column])
        )

    def _faults(self, panel: MinutePanel, alive: Flags) -> pl.DataFrame:
        parts = []
        for fault, flags in (("null_bar", null_minutes(panel)), ("duplicate", repeated_minutes(panel))):
            row, column = np.nonzero(flags)
            parts.append(self._of(panel, row).with_columns(fault=pl.lit(fault), started_at=_moments(panel, column)))
        row = np.flatnonzero(panel.plan.off_grid & alive)
        never = pl.lit(None, dtype=MOMENT)
        parts.append(self._of(panel, row).with_columns(fault=pl.lit("off_grid"), started_at=never))
        return pl.concat(parts)

    def _evenness(self, panel: MinutePanel, bars: Ints, alive: Flags) -> Floats:
        """2 x sessions that could be a trend: how evenly they went until their middle, and whether they are one."""
        could = alive & far(bars) & (panel.plan.halt[:, 1] == 0)
        row = np.flatnonzero(could[: self._market.slots])
        minutes = panel.regular.stop - panel.regular.start
        half = minutes // 2 // _BLOCK * _BLOCK
        ends = panel.prices.close[row, panel.regular][:, _BLOCK - 1 : half : _BLOCK].astype(np.float64)
        usual = np.sqrt((restlessness(minutes)[:half] ** 2).reshape(-1, _BLOCK).sum(axis=1))
        steps = np.diff(ends, axis=1, prepend=bars[row, :1]) / usual
        length = np.sqrt((steps**2).sum(axis=1))
        return np.stack([np.abs(steps.sum(axis=1)) / np.maximum(length, 1e-9), panel.plan.trending[row]])

    def _stretches(self, panel: MinutePanel, alive: Flags, stretch: Ints) -> pl.DataFrame:
        row = np.flatnonzero(alive & (stretch[:, 1] > 0))
        first = panel.regular.start + stretch[row, 0]
        return self._of(panel, row).with_columns(
            _moments(panel, first).alias("from"), _moments(panel, first + stretch[row, 1]).alias("to")
        )

    def _of(self, panel: MinutePanel, row: Ints) -> pl.DataFrame:
        """session, ticker, instrument_id of rows."""
        register, prefix = self._market.register, self._market.market.name
        position = self._market.position(panel.day)
        names: list[tuple[str, str]] = []
        for each in row.tolist():
            if each >= self._market.slots:
                symbol = first = self._market.name_of_row(each)
            else:
                number = int(register.number[each, position])
                symbol = register.symbol_of_number(number)
                first = register.companies[register.company_of_number[number]].first_symbol
            names.append((symbol, f"{prefix}:{first}"))
        frame = pl.DataFrame(names, schema={"ticker": pl.String, "instrument_id": pl.String}, orient="row")
        return frame.select(pl.lit(panel.day).alias("session"), "ticker", "instrument_id")


def _moments(panel: MinutePanel, minute: Ints) -> pl.Series:
    moments = pl.Series((panel.opens + minute * _MINUTE).astype("datetime64[us]"), dtype=pl.Datetime("us"))
    return moments.dt.replace_time_zone("UTC")


def _lasting_by_bayes(size: Floats, surge: Floats) -> Flags:
    """Whether an excursion of that size and log surge more probably lasts than reverts."""

    def likelihood(prior: float, sizes: tuple[float, float], mean: float) -> Floats:
        least, beyond = sizes
        of_size = np.where(size >= least, np.exp(-(size - least) / beyond) / beyond, 0.0)
        return np.asarray(prior * of_size * np.exp(-0.5 * ((surge - mean) / SURGE_DEVIATION) ** 2))

    reverts = likelihood(REVERTING_SHARE, REVERTING_SIZE, REVERTING_SURGE)
    return np.asarray(likelihood(1 - REVERTING_SHARE, LASTING_SIZE, LASTING_SURGE) > reverts)


def _trend_by_class(evenness: Floats, planted: Floats) -> Flags:
    """Whether most sessions of that class of evenness are trends."""
    if not len(evenness):
        return np.zeros(0, dtype=bool)
    edges = np.quantile(evenness, np.linspace(0, 1, _BINS + 1)[1:-1])
    group = np.searchsorted(edges, evenness)
    of_trend = np.bincount(group, weights=planted, minlength=_BINS)
    return np.asarray((of_trend > np.bincount(group, minlength=_BINS) / 2)[group])
