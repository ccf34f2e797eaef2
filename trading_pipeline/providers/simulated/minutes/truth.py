"""What was planted inside the sessions of the simulated market, as frames to compare findings with.

What belongs here: the answers, and how often they could have been found. What does not: what was planted in the
sessions themselves (`simulated/truth.py`). Moments are UTC; `session` is the local date.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints
from trading_pipeline.providers.simulated.market import SimulatedMarket
from trading_pipeline.providers.simulated.minutes.panel import (
    MinutePanel,
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


class IntradayTruth:
    """The known answers inside the sessions from `first` to `last` of one market."""

    def __init__(self, market: SimulatedMarket, first: date, last: date) -> None:
        self._positions = range(market.position(first), market.position(last, after=True))
        self._market = market.reach(max(self._positions.stop - 1, 0))

    def excursions(self) -> pl.DataFrame:
        """session, ticker, instrument_id, started_at, kind, size, half_life, surge; by session and ticker.

        kind: reverting (half of it is given back within `half_life` minutes, and half of the rest) or lasting (null
        then). size: log move of the minute that starts there, as told; the bend that fits a session to its daily bar
        stretches or shrinks it a little. surge: factor of that minute's volume.
        """
        parts = []
        for panel, bars, _ in self._sessions():
            row = np.flatnonzero(excursions(panel.plan, bars))
            column = panel.regular.start + panel.plan.excursion[row]
            lasting = panel.plan.lasting[row]
            size = np.log(panel.prices.close[row, column] / panel.prices.close[row, column - 1])
            parts.append(
                self._of(panel, row).with_columns(
                    started_at=_moments(panel, column),
                    kind=pl.Series(["reverting", "lasting"]).gather(lasting.astype(np.int64)),
                    size=pl.Series(size, dtype=pl.Float64),
                    half_life=pl.Series(np.where(lasting, np.nan, panel.plan.half_life[row])).fill_nan(None),
                    surge=pl.Series(panel.plan.surge[row], dtype=pl.Float64),
                )
            )
        return _sorted(parts)

    def trend_days(self) -> pl.DataFrame:
        """session, ticker, instrument_id, direction (up, down): sessions that went evenly from open to close.

        Every other one that went as far did so within 10 to 30 % of the session.
        """
        parts = []
        for panel, bars, alive in self._sessions():
            row = np.flatnonzero(trends(panel.plan, bars) & alive)
            up = bars[row, 3] > bars[row, 0]
            parts.append(
                self._of(panel, row).with_columns(direction=pl.Series(["down", "up"]).gather(up.astype(np.int64)))
            )
        return _sorted(parts)

    def halts(self) -> pl.DataFrame:
        """session, ticker, instrument_id, from, to (not included): nothing was traded in between."""
        return _sorted([self._stretches(panel, alive, panel.plan.halt) for panel, _, alive in self._sessions()])

    def stale_feeds(self) -> pl.DataFrame:
        """session, ticker, instrument_id, from, to: bars that begin in between are told from `to` on."""
        parts = []
        for panel, _, alive in self._sessions():
            everybody = np.repeat(np.array([panel.plan.outage]), len(alive), axis=0)
            parts += [self._stretches(panel, alive, stretch) for stretch in (panel.plan.stale, everybody)]
        return _sorted(parts)

    def late_bars(self) -> pl.DataFrame:
        """session, ticker, instrument_id, started_at, told_at: bars that are told only after that moment."""
        parts = []
        for panel, _, _ in self._sessions():
            late = np.zeros(panel.there.shape, dtype=np.int64)
            late[:, panel.regular] = panel.plan.late
            row, column = np.nonzero((late > 0) & panel.there)
            told = column + 1 + late[row, column]
            parts.append(
                self._of(panel, row).with_columns(
                    started_at=_moments(panel, column),
                    told_at=_moments(panel, np.maximum(told, panel.told[row, column])),
                )
            )
        return _sorted(parts)

    def faults(self) -> pl.DataFrame:
        """session, ticker, instrument_id, fault (null_bar, duplicate, off_grid), started_at.

        Of one-minute bars; every other one is sound. Of off_grid, `started_at` is null: wherever bars of the session
        are asked for during regular hours, of whatever length, the price of that moment is told as a last row.
        """
        parts = []
        for panel, _, alive in self._sessions():
            for fault, flags in (("null_bar", null_minutes(panel)), ("duplicate", repeated_minutes(panel))):
                row, column = np.nonzero(flags)
                parts.append(self._of(panel, row).with_columns(fault=pl.lit(fault), started_at=_moments(panel, column)))
            row = np.flatnonzero(panel.plan.off_grid & alive)
            parts.append(
                self._of(panel, row).with_columns(fault=pl.lit("off_grid"), started_at=pl.lit(None, dtype=MOMENT))
            )
        return _sorted(parts)

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
        further than that minute is right more often over both.

        trend, ordinary: at the middle of a session that could be a trend, by how evenly it went so far: the move from
        the open over the root of the summed squares of its five-minute steps, all in units of what is usual at that
        time of day. The reference finder is given how often each value (of 40 classes) belongs to either, over the
        sessions told here; no finder that reads the same is right more often over both. Patterns that are not there
        have a null share. Ten sessions of 120 companies hold about 400 excursions.
        """
        lasting, found_lasting = self._excursions_called()
        trend, found_trend = self._trends_called()
        cases = ((~lasting, ~found_lasting), (lasting, found_lasting), (trend, found_trend), (~trend, ~found_trend))
        return pl.DataFrame(
            {
                "pattern": PATTERNS,
                "planted": [int(true.sum()) for true, _ in cases],
                "ceiling": [float((true & found).sum() / true.sum()) if true.any() else None for true, found in cases],
            },
            schema={"pattern": pl.String, "planted": pl.Int64, "ceiling": pl.Float64},
        )

    def _excursions_called(self) -> tuple[Flags, Flags]:
        """Of each excursion: whether it lasts, and whether the reference finder says so."""
        drawn = []
        for panel, bars, _ in self._sessions():
            row = np.flatnonzero(excursions(panel.plan, bars))
            drawn.append(np.stack([panel.plan.size[row], np.log(panel.plan.surge[row]), panel.plan.lasting[row]]))
        size, surge, lasting = np.concatenate([np.empty((3, 0)), *drawn], axis=1)

        def likelihood(prior: float, sizes: tuple[float, float], mean: float) -> Floats:
            least, beyond = sizes
            of_size = np.where(size >= least, np.exp(-(size - least) / beyond) / beyond, 0.0)
            return np.asarray(prior * of_size * np.exp(-0.5 * ((surge - mean) / SURGE_DEVIATION) ** 2))

        reverts = likelihood(REVERTING_SHARE, REVERTING_SIZE, REVERTING_SURGE)
        lasts = likelihood(1 - REVERTING_SHARE, LASTING_SIZE, LASTING_SURGE)
        return lasting.astype(bool), lasts > reverts

    def _trends_called(self) -> tuple[Flags, Flags]:
        """Of each session that could be a trend: whether it is one, and whether the reference finder says so."""
        evenness, planted = [np.empty(0)], [np.empty(0, dtype=bool)]
        for panel, bars, alive in self._sessions():
            could = alive & far(bars) & (panel.plan.halt[:, 1] == 0)
            row = np.flatnonzero(could[: self._market.slots])
            minutes = panel.regular.stop - panel.regular.start
            half = minutes // 2 // _BLOCK * _BLOCK
            ends = panel.prices.close[row, panel.regular][:, _BLOCK - 1 : half : _BLOCK].astype(np.float64)
            steps = np.diff(ends, axis=1, prepend=bars[row, :1])
            usual = np.sqrt((restlessness(minutes)[:half] ** 2).reshape(-1, _BLOCK).sum(axis=1))
            steps = steps / usual
            length = np.sqrt((steps**2).sum(axis=1))
            evenness.append(np.abs(steps.sum(axis=1)) / np.maximum(length, 1e-9))
            planted.append(panel.plan.trending[row])
        value, is_trend = np.concatenate(evenness), np.concatenate(planted)
        edges = np.quantile(value, np.linspace(0, 1, _BINS + 1)[1:-1]) if len(value) else np.empty(0)
        group = np.searchsorted(edges, value)
        of_trend = np.bincount(group, weights=is_trend, minlength=_BINS)
        return is_trend, (of_trend > np.bincount(group, minlength=_BINS) / 2)[group]

    def _sessions(self) -> Iterator[tuple[MinutePanel, Ints, Flags]]:
        """Panel of each session, its daily bars (rows x open, high, low, close in cents), and who was listed."""
        market = self._market
        for position in self._positions:
            daily = np.stack(
                [each[:, position] for each in (market.open, market.high, market.low, market.close)], axis=1
            )
            alive = np.isfinite(daily[:, 0])
            yield (
                minute_panel(market, position),
                np.rint(np.where(alive[:, None], daily, 1.0) * 100).astype(np.int64),
                alive,
            )

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


def _sorted(parts: list[pl.DataFrame]) -> pl.DataFrame:
    frame = pl.concat(parts)
    return frame.sort("session", "ticker", *frame.columns[3:])
