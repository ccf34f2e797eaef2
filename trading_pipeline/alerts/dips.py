"""What an alert of a new dip says, on any channel.

What belongs here: its facts and its words. What does not: which dips are new, and how a channel arranges words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import polars as pl

from trading_pipeline.alerts.facts import AlertFacts, Number, Text, Tone, Words, lines
from trading_pipeline.markets import market_named
from trading_pipeline.reports import wording
from trading_pipeline.settings import World
from trading_pipeline.storage.outbox import Alert

SYMBOLS = {"USD": "$", "AUD": "A$"}
ACTIONS = {"buy": "Buy", "wait": "Wait", "avoid": "Avoid"}
TONES: dict[str, Tone] = {"buy": "good", "wait": "caution", "avoid": "bad"}
CAUSES = {
    "macro": "The whole market",
    "sector": "Its sector",
    "company": "The company itself",
    "earnings": "Its report",
    "ex_dividend": "A dividend paid out",
    "unknown": "Not known",
}


class DipAlert(AlertFacts):
    """A new dip as it was on its session: columns of `dip_opportunities` and `dip_analysis`, and where it comes from.

    previous_threshold_pct: the threshold it had passed in the week before; None: it was not on the desk.
    """

    kind: ClassVar[str] = "dip"

    sector: Text | None
    price: float
    high_252: float
    dip_pct: float
    threshold_pct: float
    previous_threshold_pct: Number
    sessions_since_high: int
    environment: Text | None
    data_quality: Text
    cause: Text
    cause_share: Number
    evidence: Text
    verdict: Text | None
    total: Number
    grade: Text | None
    gates_failed: Text | None
    sessions_to_report: int | None
    action: Literal["buy", "wait", "avoid"]
    size_low: float
    size_high: float
    size_low_amount: float
    size_high_amount: float
    why: Text
    outlook: Text
    play: Text
    risks: Text
    source: Text
    model: Text | None

    def alert(self) -> Alert:
        """As the outbox keeps it: each threshold passed is an alert of its own."""
        return replace(super().alert(), threshold_pct=self.threshold_pct)

    def words(self) -> Words:
        """The dip as any channel tells it."""
        facts = {
            "Size": self.size,
            "Score": self.score,
            "Cause": self.cause_in_words,
            "Next report": self.next_report,
            "Market": f"Environment {self.environment}" if self.environment else None,
            "Data": self.suspect,
        }
        return Words(
            headline=self.headline,
            tone=TONES[self.action],
            lead=(self.crossing, self.prices),
            text=self.why,
            advice=(self.advice, self.play),
            facts=tuple((name, value) for name, value in facts.items() if value),
            lists=(("Evidence", lines(self.evidence)), ("Risks", lines(self.risks))),
            source=self.words_by,
        )

    def summary(self, others: Sequence[Self]) -> str:
        """`2 new dips on the US dip desk`."""
        return f"{wording.count(1 + len(others), 'new dip')} on the {self.market.upper()} dip desk"

    # --- in words -----------------------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """`AAA: 12.3% below its 52-week high`."""
        return f"{self.ticker}: {wording.number(self.dip_pct)}% below its 52-week high"

    @property
    def crossing(self) -> str:
        """Which threshold it passed, and from where."""
        passed = f"Passed {wording.plain(self.threshold_pct)}%"
        if self.previous_threshold_pct is None:
            return f"{passed}, new on the desk"
        return f"{passed}, was past {wording.plain(self.previous_threshold_pct)}%"

    @property
    def advice(self) -> str:
        """What the rules decided: `Buy`, `Wait`, `Avoid`."""
        return ACTIONS[self.action]

    @property
    def size(self) -> str:
        """`2–4% of the portfolio, $2,000–4,000`; a dash where nothing is to be bought."""
        if self.action != "buy" or self.size_high <= 0:
            return wording.UNKNOWN
        symbol = SYMBOLS.get(market_named(self.market).currency, f"{market_named(self.market).currency} ")
        share = _span(*(f"{round(100 * value, 1):g}" for value in (self.size_low, self.size_high)))
        amount = _span(*(wording.number(value, 0) for value in (self.size_low_amount, self.size_high_amount)))
        return f"{share}% of the portfolio, {symbol}{amount}"

    @property
    def prices(self) -> str:
        """The close and the high it fell from."""
        since = wording.count(self.sessions_since_high, "session")
        return f"{wording.price(self.price)}, high {wording.price(self.high_252)} {since} ago"

    @property
    def cause_in_words(self) -> str:
        """The cause and how much of the fall it explains."""
        named = CAUSES.get(self.cause, self.cause)
        share = "" if self.cause_share is None else f" ({wording.percent(self.cause_share, 0)} of the fall)"
        return f"{named}{share}, {self.outlook}"

    @property
    def score(self) -> str:
        """Verdict, grade and total of the screener, and the gates it fails."""
        if self.verdict is None:
            return "Not scored"
        graded = f"{self.verdict}, grade {self.grade or wording.UNKNOWN}, {wording.number(self.total, 0)} of 100"
        return f"{graded}; fails {self.gates_failed.replace(',', ', ')}" if self.gates_failed else graded

    @property
    def next_report(self) -> str | None:
        """When the next earnings report trades; None where that is not known."""
        if self.sessions_to_report is None:
            return None
        return f"In {wording.count(self.sessions_to_report, 'session')}" if self.sessions_to_report else "Today"

    @property
    def suspect(self) -> str | None:
        """A warning where the bar behind it is doubtful; None where it is good."""
        return None if self.data_quality == "good" else f"Its bar is marked {self.data_quality}: check the price first."

    @property
    def words_by(self) -> str:
        """Whose words these are."""
        return f"Words by {self.model or 'Claude'}" if self.source == "claude" else "Words by the rules"


def dip_alerts(world: World, market: str, new: pl.DataFrame, analyses: pl.DataFrame) -> list[DipAlert]:
    """The alerts of the dips `new` that have been analysed, by session and ticker.

    new: rows of `new_dips`, with the columns of `dip_opportunities`. analyses: rows of `dip_analysis`. A dip that has
    no analysis yet is left out until it has.
    """
    words = analyses.drop([name for name in analyses.columns if name in new.columns and name not in _KEY])
    rows = new.join(words, on=_KEY, how="inner").sort("session", "ticker", "instrument_id")
    return [DipAlert.model_validate({**row, "world": world, "market": market}) for row in rows.iter_rows(named=True)]


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"


_KEY = ["session", "instrument_id"]
