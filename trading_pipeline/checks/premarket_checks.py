"""What must be true of minutes and of what is said before the open.

What belongs here: looking at the tables of the group `premarket`. What does not: what a receipt reported
(`receipts.py`).
"""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from trading_pipeline.checks.factory import Finding, Sight
from trading_pipeline.checks.market_checks import say
from trading_pipeline.research.intraday.quality import RULES
from trading_pipeline.tables import DAILY_BIAS, INTRADAY_BARS, INTRADAY_ISSUES, PREMARKET_SNAPSHOTS

MOST_ISSUES = 0.02
"""Share of minutes that may break a quality rule before somebody should look: as of daily bars."""


def few_broken_minutes(sight: Sight) -> Finding:
    """At most 2 % of the minutes received break a quality rule, and each names a known one."""
    issues = sight.rows(INTRADAY_ISSUES, "rule")
    unknown = issues.filter(~pl.col("rule").is_in(list(RULES)))["rule"].unique()
    kept = sight.rows(INTRADAY_BARS, "instrument_id").height
    share = issues.height / max(kept + issues.height, 1)
    return Finding(
        share <= MOST_ISSUES and unknown.is_empty(),
        say(f"{issues.height} of {kept + issues.height} minutes break a rule.", "No known rule", unknown),
        {"share": round(share, 5), **dict(issues["rule"].value_counts(sort=True).iter_rows())},
    )


def bands_in_order(sight: Sight) -> Finding:
    """Bands rise from the lowest to the highest, and yesterday's close lies within its range."""
    rows = sight.rows(PREMARKET_SNAPSHOTS)
    bands = [*(f"band_lower_{width}" for width in (3, 2, 1)), "anchored_mean"]
    bands += [f"band_upper_{width}" for width in (1, 2, 3)]
    falling = pl.any_horizontal(pl.col(low) > pl.col(high) for low, high in pairwise(bands))
    close = pl.col("previous_close")
    outside = (close > pl.col("previous_high") * (1 + 1e-9)) | (close < pl.col("previous_low") * (1 - 1e-9))
    wrong = rows.filter(falling.fill_null(False) | outside)
    return Finding(
        wrong.is_empty(),
        say(f"The levels of {rows.height} snapshots are in order.", "Levels out of order", wrong["ticker"]),
        {"snapshots": rows.height, "wrong": wrong.height},
    )


def biases_follow(sight: Sight) -> Finding:
    """A bias points where its score does, and confidence and score are within bounds."""
    rows = sight.rows(DAILY_BIAS, "ticker", "bias", "score", "confidence")
    score = pl.col("score")
    against = ((pl.col("bias") == "long") & (score <= 0)) | ((pl.col("bias") == "short") & (score >= 0))
    sound = score.is_between(-1, 1) & pl.col("confidence").is_between(0, 1)
    wrong = rows.filter(against | ~sound)
    return Finding(
        wrong.is_empty(),
        say(f"All of {rows.height} follow.", "Bias against its score, or out of bounds", wrong["ticker"]),
        {"biases": rows.height, "wrong": wrong.height},
    )


def prepared_names_lean(sight: Sight) -> Finding:
    """Each name with a snapshot has a bias, and says since when it was decided."""
    snapshots = sight.rows(PREMARKET_SNAPSHOTS, "session", "instrument_id", "ticker", "decided_at", "taken")
    biases = sight.rows(DAILY_BIAS, "session", "instrument_id", "decided_at", "taken")
    missing = snapshots.join(biases, on=["session", "instrument_id", "decided_at", "taken"], how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All of {snapshots.height} have one.", "Without a bias of the same moment", missing["ticker"]),
        {"snapshots": snapshots.height, "missing": missing.height},
    )
