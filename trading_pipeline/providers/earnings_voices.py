"""Several voices on the same reports: who is asked about whom.

What belongs here: asking. What does not: whose date holds where they disagree (`research/earnings.py`): every voice's
rows are kept under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import Progress
from trading_pipeline.providers.reference import EarningsProvider, ReferenceBatch

HOLE = timedelta(days=100)
"""A name without a report in so many days has one that this voice does not know of: reports are quarterly."""

CONFIRMED_WITHIN = timedelta(days=14)
"""Reports this near are asked of the last voice too: a date may still move, and a wrong one costs most now."""


@dataclass(frozen=True)
class Voice:
    """What one provider was asked and answered. ids: instrument id by the symbol it was asked for."""

    provider: EarningsProvider
    ids: Mapping[str, str]
    batch: ReferenceBatch


class EarningsVoices:
    """The providers of earnings, the first voice first."""

    def __init__(self, providers: Sequence[EarningsProvider]) -> None:
        self.providers = tuple(providers)

    def ask(
        self,
        market: Market,
        ids_of: Callable[[EarningsProvider], Mapping[str, str]],
        first: date,
        last: date,
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> list[Voice]:
        """Every voice's answer, in order; a voice that nobody needs is not asked and not in the list.

        ids_of: the members as a provider spells them, to their instrument ids. The first voice is asked for all of
        them; each further one for those that failed so far or have no report in the next 100 days; the last one, to
        confirm, also for those whose next report is within two weeks.
        """
        today, answers = now.date(), list[Voice]()
        settled: dict[str, date] = {}
        for place, provider in enumerate(self.providers):
            ids = dict(ids_of(provider))
            if place:
                confirming = place == len(self.providers) - 1
                ids = {
                    symbol: instrument
                    for symbol, instrument in ids.items()
                    if instrument not in settled or (confirming and settled[instrument] - today <= CONFIRMED_WITHIN)
                }
            if not ids:
                continue
            batch = provider.earnings(market, list(ids), first, last, now=now, progress=progress)
            answers.append(Voice(provider, ids, batch))
            for symbol, day in _next_reports(batch, today).items():
                if symbol in ids:
                    settled[ids[symbol]] = min(day, settled.get(ids[symbol], day))
        return answers


def _next_reports(batch: ReferenceBatch, today: date) -> dict[str, date]:
    """The next report of each symbol that did not fail, where there is one in the next 100 days."""
    failed = [failure.symbol for failure in batch.failures]
    coming = batch.rows.filter(pl.col("report_date").is_between(today, today + HOLE) & ~pl.col("symbol").is_in(failed))
    return dict(coming.group_by("symbol").agg(pl.col("report_date").min()).iter_rows())
