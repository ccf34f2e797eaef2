"""The named quality rules: what each one says, how grave it is, and when it can be judged.

What belongs here: the registry and the thresholds every rule shares. What does not: how a rule is computed
(`daily.py` for daily sessions, `history.py` for a history as received).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["suspect", "bad", "rejected"]
Judged = Literal["session", "later", "receipt"]
Target = Literal["bar", "action", "none"]

SEVERITIES: tuple[Severity, ...] = ("suspect", "bad", "rejected")
GOOD = "good"

UNIT = 100.0
"""Pence for pounds, cents for rand, agorot for shekels: the quotation units that vendors mix up differ by 100."""
UNIT_TOLERANCE = 0.20
"""A unit error is recognised within 20 % of 100, so that it can coincide with a move of the market."""
DIVIDEND_SIGMAS = 5.0
"""An ex-date move that misses the dividend by more than this many trailing sigmas does not confirm it."""


@dataclass(frozen=True)
class Rule:
    """A quality rule.

    severity: suspect (shown), bad (stored, excluded downstream) or rejected (kept in the issues alone).
    judged: "session" from data up to the session itself; "later" when a later bar comes: the issue stands at that later
    session, points back by `bar_session` and changes nothing that was computed before; "receipt" only over a history as
    a provider sent it, with its adjusted close.
    target: what carries the mark: the bar, the corporate action, or neither (the issue alone).
    reason: why the severity is what it is.
    """

    name: str
    severity: Severity
    judged: Judged
    target: Target
    description: str
    reason: str

    @property
    def needs_later_bar(self) -> bool:
        """Whether the rule waits for a bar after the one at fault."""
        return self.judged == "later"


_CONSTRAINT = "The warehouse's constraints forbid it: the row contradicts itself, so no part of it can be trusted"
_ACTION = "The price may well be right; what is in doubt is the action, so the bar is not marked"
_ABSENT = "There is no bar to exclude; the gap is shown"

_ALL = (
    Rule(
        "duplicate_bar",
        "rejected",
        "session",
        "none",
        "More than one row for the same instrument and session; the one with the largest volume is kept, the others go",
        "A key holds one row; the fuller of two is the later one (a forming row is sent beside the final one)",
    ),
    Rule("null_bar", "rejected", "session", "none", "Open, high, low or close is null or not a number", _CONSTRAINT),
    Rule(
        "non_positive_price", "rejected", "session", "none", "A price is zero, negative or below 0.00005", _CONSTRAINT
    ),
    Rule("negative_volume", "rejected", "session", "none", "Volume is a negative number", _CONSTRAINT),
    Rule(
        "ohlc_inconsistent",
        "rejected",
        "session",
        "none",
        "Open or close lies outside low to high, or high is below low, by more than one part in a million",
        _CONSTRAINT,
    ),
    Rule(
        "not_a_session",
        "rejected",
        "session",
        "none",
        "A row dated on a day the exchange did not trade; reported at the next session",
        "A bar of a closed day belongs to no partition",
    ),
    Rule(
        "unit_error",
        "bad",
        "session",
        "bar",
        "A price is 100 times or a hundredth of the median close of the 21 sessions before, within 20 %",
        "No listed share moves so in a session; every number computed from it would be absurd",
    ),
    Rule(
        "stale_price",
        "bad",
        "session",
        "bar",
        "The fifth or later session in a row at the same price without a trade",
        "Nobody traded for a week: volatility, averages and dips of such a quote are fiction",
    ),
    Rule(
        "frozen_bar",
        "suspect",
        "session",
        "bar",
        "Open, high, low and close all equal those of the bar before",
        "A frozen feed repeats itself, but a share that hardly trades may too",
    ),
    Rule(
        "zero_volume",
        "suspect",
        "session",
        "bar",
        "No volume although it traded in the 21 sessions before, or at an unchanged price; null volume is kept as zero",
        "The price can be right while the volume is missing; an index, which never has volume, is left alone",
    ),
    Rule(
        "jump",
        "suspect",
        "session",
        "bar",
        "A return beyond 12 sigma of its own last 63 sessions, net of the market's median that day, without an action",
        "Earnings and takeovers do this to honest prices: it is shown, never excluded",
    ),
    Rule(
        "forming_bar",
        "suspect",
        "session",
        "bar",
        "Received before the close plus the provider's lag: provisional",
        "Its close is a price that traded; the final bar takes its place as a new version",
    ),
    Rule(
        "currency_change",
        "suspect",
        "session",
        "bar",
        "Quoted in another currency than the bar before",
        "A redenomination is genuine; prices on the two sides cannot be compared, and a jump shows if they differ",
    ),
    Rule(
        "split_not_applied",
        "suspect",
        "session",
        "bar",
        "A split was announced, but at its ex-date the as-traded price did not move by its ratio, or moved by it twice",
        "Either side of the ex-date may be the wrong one; which is decided by a full re-fetch",
    ),
    Rule(
        "split_not_announced",
        "suspect",
        "later",
        "none",
        "The whole bar gapped by the ratio of a split and stayed there for two more bars, without an action",
        "A collapse of a half looks the same; earlier decisions stand",
    ),
    Rule(
        "jump_reversed",
        "suspect",
        "later",
        "none",
        "A jump that the next bar took back: the bar between was a bad print",
        "Known only when the next bar came: what was computed before it stands",
    ),
    Rule(
        "dividend_implausible",
        "suspect",
        "session",
        "action",
        "The amount is no less than the price, or the ex-date move misses it by more than 5 sigma and is nearer to "
        "none; on receipt also one that repeats another within four days",
        _ACTION,
    ),
    Rule(
        "dividend_unit",
        "suspect",
        "session",
        "action",
        "The amount fits the ex-date move, or the provider's own adjustment, only 100 times smaller or larger, or by "
        "the ratio of a split",
        _ACTION,
    ),
    Rule(
        "dividend_missing",
        "suspect",
        "receipt",
        "none",
        "The provider's adjusted close steps as for a dividend on a day without one",
        "The adjusted close is never used, but an action is missing that total returns need",
    ),
    Rule(
        "dividend_not_applied",
        "suspect",
        "receipt",
        "action",
        "A dividend was announced, but the provider's adjusted close does not step by it",
        _ACTION,
    ),
    Rule(
        "basis_break",
        "suspect",
        "session",
        "none",
        "The provider moved the whole history by a constant that no known action explains",
        "One event of the instrument, not a thousand revisions; the history is fetched again",
    ),
    Rule(
        "missing_session_vendor_null",
        "suspect",
        "session",
        "none",
        "A bar was expected and the provider sent a row of nulls",
        _ABSENT,
    ),
    Rule(
        "missing_session_not_listed",
        "suspect",
        "session",
        "none",
        "A bar was expected of a session before the listing or after the delisting",
        _ABSENT,
    ),
    Rule(
        "missing_session_halted",
        "suspect",
        "session",
        "none",
        "A bar was expected; trading is known to be halted, or had already stopped in the last bar there was",
        _ABSENT,
    ),
    Rule(
        "missing_session_absent_row",
        "suspect",
        "session",
        "none",
        "A bar was expected and the provider sent no row, though it covers the instrument",
        _ABSENT,
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
"""Every rule by name, in the order in which names are joined in the `rules` columns."""
