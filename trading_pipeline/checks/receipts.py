"""What a receipt reported that nobody may overlook: rows and histories that were not stored.

What belongs here: reading the report that the run left in its metadata. What does not: how a receipt decides
(`ingest.py`), and rows that were stored (`market_checks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trading_pipeline.checks.factory import Finding, Sight

NOT_ASKED = "No report of a receipt was found."
_NAMED = 5


def no_basis_breaks(sight: Sight) -> Finding:
    """No history jumped by a constant that no known action explains; bars of such a history are held back."""
    breaks = sight.receipt.get("basis_breaks", [])
    return _none_of(
        sight,
        breaks,
        len(breaks),
        "No history jumped.",
        "Held back until the split is announced, or `trading-pipeline rebase` takes it",
    )


def no_duplicates(sight: Sight) -> Finding:
    """No second row of a session was received of an instrument; the further ones are left out."""
    told = sight.receipt
    return _none_of(
        sight,
        told.get("duplicates", []),
        told.get("rows_duplicate", 0),
        "No row came twice.",
        "Received more than once, the first row was taken",
    )


def every_ticker_answered(sight: Sight) -> Finding:
    """Every ticker that was asked for answered."""
    failed = sight.receipt.get("failed", {})
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
    return _none_of(
        sight,
        sight.receipt.get("failures", []),
        sum(failed.values()),
        "Every ticker answered.",
        f"Did not answer ({kinds})",
    )


def none_refused(sight: Sight) -> Finding:
    """No split or payment was refused for a value that cannot be."""
    refused = sight.receipt.get("actions_refused", [])
    return _none_of(sight, refused, len(refused), "No action was refused.", "Refused")


def none_doubted(sight: Sight) -> Finding:
    """The provider did not fall silent about actions it told before, or about a whole kind of them."""
    count = sight.receipt.get("withdrawals_doubted", 0)
    return _none_of(
        sight,
        [f"{count} stored ones"] if count else [],
        count,
        "Every known action is still told.",
        "No longer told, by an answer without a single action of their kind, and kept",
    )


def _none_of(sight: Sight, listed: Sequence[Any], count: int, fine: str, wrong: str) -> Finding:
    """Passes where the report counts none; fails without a report, for then nothing was looked at."""
    if not sight.receipt:
        return Finding(False, NOT_ASKED)
    named = [str(each) for each in listed[:_NAMED]]
    more = f" and {count - len(named)} more" if count > len(named) and len(listed) > 1 else ""
    return Finding(not count, f"{wrong}: {'; '.join(named)}{more}." if count else fine, {"count": count})
