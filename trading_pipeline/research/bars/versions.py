"""What is new in a receipt: new facts, revisions, and histories whose basis changed.

What belongs here: comparing as-traded receipts with the latest stored versions. What does not: the clocks of a version
and writing it (`ingest.py`), judging whether a bar is any good (`quality`).

A *basis break* is a history that jumped by a constant, such as a split the provider applied and did not announce. It is
one fact about the instrument, not a thousand revisions, and it does not say which side is right. So the stored rows
stay in force, nothing of the receipt up to the break's last session is taken, and the sessions after it are taken as
they come: they trade in the new basis, and where no split turns up to explain it, the quality rules see a jump without
an action. When the provider announces the split later, undoing it gives the stored values again and the break is gone.
Where the stored side was the wrong one (a file whose later splits became known afterwards), `rebase` names the
instruments whose receipt is to be taken after all, as revisions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

TOLERANCE = 1e-6
"""Relative difference beyond which two values are not the same. Vintages of one price differ by up to 1.2e-7."""

SHORTEST_BREAK = 3
"""Rows in a run at the start of the compared history that make a break; fewer only where they are all there is."""

VALUES = ("open", "high", "low", "close", "volume")
_PRICES = VALUES[:4]
_KEY = ["instrument_id", "session", "provider"]
_LINE = ["instrument_id", "provider"]
_STORED = "_stored"

BREAKS_SCHEMA = pl.Schema(
    {
        "instrument_id": pl.String,
        "provider": pl.String,
        "factor": pl.Float64,
        "first_session": pl.Date,
        "last_session": pl.Date,
        "rows": pl.UInt32,
        "withheld": pl.UInt32,
        "cause": pl.String,
    }
)


@dataclass(frozen=True)
class Changes:
    """What a receipt adds to what is stored. The frames of bars have the columns of the receipt.

    new: keys without a stored version. revised: values that differ from a final version. settled: what follows a
    provisional version, either the final bar or a later look at the forming one. unchanged: rows that say the same.
    basis_breaks: [instrument_id, provider, factor, first_session, last_session, rows, withheld, cause]; factor is
    received / stored; rows that jumped by it between the two sessions; withheld: further rows of the receipt up to the
    last session that are new or differ otherwise, in a basis that is not the stored one, and therefore not taken;
    cause `prices` where the provider's own numbers moved, `splits` where they stayed and the known splits changed.
    """

    new: pl.DataFrame
    revised: pl.DataFrame
    settled: pl.DataFrame
    basis_breaks: pl.DataFrame
    unchanged: int

    @property
    def versions(self) -> pl.DataFrame:
        """Everything to store: new, revised and settled rows."""
        return pl.concat([self.new, self.revised, self.settled])


def changes(received: pl.DataFrame, latest: pl.DataFrame, rebase: Collection[str] = ()) -> Changes:
    """What `received` says that the latest stored versions do not.

    received, latest: [instrument_id, session, provider, open, high, low, close, volume, received_close, split_factor,
    provisional, ...] as traded, one row a key of instrument, session and provider; `latest` the latest version of each.
    A value is revised when it differs by more than 1e-6 of the larger one, or when one side is null and the other is
    not; so A, then B, then A again are two revisions. Volumes received under different split factors may differ by the
    rounding of both to whole shares. `adj_close` is never compared: a dividend rewrites all of it. A final bar after
    a provisional one is always a version of its own.
    rebase: instruments whose basis breaks are taken as revisions.
    """
    columns = received.columns
    if latest.is_empty():
        return Changes(received, received.clear(), received.clear(), pl.DataFrame(schema=BREAKS_SCHEMA), 0)
    stored = latest.select(*_KEY, *VALUES, "received_close", "split_factor", "provisional")
    rows = (
        received.join(stored, on=_KEY, how="left", suffix=_STORED)
        .with_columns(pl.col(f"{name}{side}").fill_nan(None) for name in VALUES for side in ("", _STORED))
        .with_columns(
            pl.col(f"provisional{_STORED}").is_not_null().alias("_known"),
            pl.any_horizontal(*(_differs(name) for name in _PRICES), _volume_differs()).alias("_differs"),
        )
    )
    rows, breaks = _without_breaks(rows, rebase)
    known, differs = pl.col("_known"), pl.col("_differs")
    was_provisional = pl.col(f"provisional{_STORED}").fill_null(False)
    settled = known & was_provisional & (differs | ~pl.col("provisional"))
    revised = known & ~was_provisional & differs
    return Changes(
        new=rows.filter(~known).select(columns),
        revised=rows.filter(revised).select(columns),
        settled=rows.filter(settled).select(columns),
        basis_breaks=breaks,
        unchanged=rows.select((known & ~settled & ~revised).sum()).item(),
    )


def suspected_breaks(received: pl.DataFrame, latest: pl.DataFrame) -> list[str]:
    """Instruments whose earliest compared bar jumped as a whole: their full history will tell whether that is a break.

    For receipts that hold a short overlap only; frames as in `changes`.
    """
    stored = latest.select(*_KEY, *VALUES, "split_factor", "provisional")
    rows = received.join(stored, on=_KEY, how="inner", suffix=_STORED)
    first = rows.with_columns(_log_ratio()).filter(_comparable()).sort("session").group_by(_LINE).first()
    return first.filter(_jumped())["instrument_id"].unique().sort().to_list()


def _differs(name: str) -> pl.Expr:
    new, old = pl.col(name), pl.col(f"{name}{_STORED}")
    apart = (new - old).abs() > TOLERANCE * pl.max_horizontal(new.abs(), old.abs())
    return apart.fill_null(False) | (new.is_null() != old.is_null())


def _volume_differs() -> pl.Expr:
    """Whole shares are rounded in the basis received: half of one is 0.5 / factor shares as traded."""
    new, old = pl.col("volume"), pl.col(f"volume{_STORED}")
    factor, factor_old = pl.col("split_factor"), pl.col(f"split_factor{_STORED}")
    rescaled = (factor / factor_old - 1).abs() > TOLERANCE
    rounding = pl.when(rescaled).then(0.5 / factor + 0.5 / factor_old).otherwise(0.0)
    apart = (new - old).abs() > TOLERANCE * pl.max_horizontal(new.abs(), old.abs()) + rounding
    return apart.fill_null(False) | (new.is_null() != old.is_null())


def _log_ratio() -> pl.Expr:
    return (pl.col("close") / pl.col(f"close{_STORED}")).log().alias("_ratio")


def _comparable() -> pl.Expr:
    return pl.col("_ratio").is_finite().fill_null(False) & ~pl.col(f"provisional{_STORED}").fill_null(True)


def _slack(log_factor: pl.Expr) -> pl.Expr:
    """How far the ratios of one break may lie apart: a hundredth of the jump, for prices rounded to cents."""
    return (log_factor.abs() / 100).clip(2 * TOLERANCE, 1e-3)


def _jumped() -> pl.Expr:
    """All four prices moved by one factor, the volume against it or not at all."""
    ratio = pl.col("_ratio")
    together = [
        (((pl.col(name) / pl.col(f"{name}{_STORED}")).log() - ratio).abs() <= _slack(ratio)).fill_null(True)
        for name in _PRICES
    ]
    volume = (pl.col("volume") / pl.col(f"volume{_STORED}")).log()
    against = ((volume + ratio).abs() <= 1e-2) | (volume.abs() <= 1e-2)
    steady = against | ~volume.is_finite() | volume.is_null()
    return (ratio.abs() > TOLERANCE) & pl.all_horizontal(together) & steady.fill_null(True)


def _without_breaks(rows: pl.DataFrame, rebase: Collection[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that are not on the far side of a basis break, and the breaks."""
    nothing = pl.DataFrame(schema=BREAKS_SCHEMA)
    in_question = rows.filter(pl.col("_differs") & pl.col("_known") & ~pl.col("instrument_id").is_in(list(rebase)))
    if in_question.is_empty():
        return rows, nothing
    lines = in_question.select(_LINE).unique()
    judged = (
        rows.join(lines, on=_LINE, how="semi")
        .with_columns(_log_ratio())
        .filter(_comparable())
        .sort(*_LINE, "session")
        .with_columns(_jumped().alias("_jump"))
        .with_columns(
            (
                (pl.col("_jump") != pl.col("_jump").shift(1))
                | ((pl.col("_ratio") - pl.col("_ratio").shift(1)).abs() > _slack(pl.col("_ratio")))
            )
            .fill_null(True)
            .cum_sum()
            .over(_LINE)
            .alias("_run")
        )
    )
    runs = (
        judged.group_by(*_LINE, "_run")
        .agg(
            pl.col("_jump").first(),
            pl.col("_ratio").median(),
            pl.len().alias("rows"),
            pl.col("session").min().alias("first_session"),
            pl.col("session").max().alias("last_session"),
            (pl.col("received_close") / pl.col(f"received_close{_STORED}") - 1).abs().median().alias("_moved"),
        )
        .sort(*_LINE, "_run")
        .with_columns(
            (
                pl.col("_jump")
                & (
                    (pl.col("rows") >= SHORTEST_BREAK)
                    | ((pl.col("rows") == pl.sum("rows").over(_LINE)) & (pl.col("rows") > 1))
                )
            ).alias("_broken")
        )
        # Only what reaches back to the start of the history is a change of basis; elsewhere a range was corrected. One
        # row in ten may have been corrected besides.
        .with_columns(
            pl.when("_broken").then("rows").otherwise(0).cum_sum().over(_LINE).alias("_in_breaks"),
            pl.col("rows").cum_sum().over(_LINE).alias("_so_far"),
        )
        .filter(pl.col("_broken") & (pl.col("_in_breaks") >= 0.9 * pl.col("_so_far")))
    )
    if runs.is_empty():
        return rows, nothing
    # Runs of one factor that a corrected row lies between are one break.
    steps = (pl.col("_ratio") - pl.col("_ratio").shift(1)).abs() > _slack(pl.col("_ratio"))
    breaks = (
        runs.with_columns(steps.fill_null(True).cum_sum().over(_LINE).alias("_break"))
        .group_by(*_LINE, "_break")
        .agg(
            pl.col("_ratio").median().exp().alias("factor"),
            pl.col("first_session").min(),
            pl.col("last_session").max(),
            pl.col("rows").sum(),
            pl.when(pl.col("_moved").max() <= TOLERANCE)
            .then(pl.lit("splits"))
            .otherwise(pl.lit("prices"))
            .alias("cause"),
        )
        .sort(*_LINE, "first_session")
    )
    limits = breaks.group_by(_LINE).agg(pl.col("last_session").max().alias("_until"))
    marked = rows.join(limits, on=_LINE, how="left", maintain_order="left")
    far = (pl.col("session") <= pl.col("_until")).fill_null(False)
    followers = breaks.group_by(_LINE).agg(pl.col("rows").sum().alias("_followers"))
    withheld = (
        marked.filter(far & (pl.col("_differs") | ~pl.col("_known")))
        .group_by(_LINE)
        .agg(pl.len().alias("_all"))
        .join(followers, on=_LINE)
        .select(*_LINE, (pl.col("_all").cast(pl.Int64) - pl.col("_followers")).clip(0).alias("withheld"))
    )
    breaks = breaks.join(withheld, on=_LINE, how="left").select(
        pl.col(name).cast(dtype) for name, dtype in BREAKS_SCHEMA.items()
    )
    return marked.filter(~far).drop("_until"), breaks
