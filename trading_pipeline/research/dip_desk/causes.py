"""Why a share is down: macro, sector, company, earnings, ex_dividend or unknown, with what speaks for it.

What belongs here: the decision and its evidence. What does not: the path of a fall (`paths.py`), headlines that fit it
(`headlines.py`), numbers of the rules (`rules.toml`), what to do about it (`analysis.py`).

Prices and the calendar decide; headlines break near ties and tell a shock of the company's own from noise. The fall
since the high is taken apart into sums of log moves, rises against falls (`paths.py`):

    macro     what all other members did, times the share's beta to them
    sector    the same of what its sector did beyond them
    earnings  its own moves on the sessions that traded on a report
    company   its own falls beyond 5 sigma on other sessions, where a headline about the company fits or they are too
              large for chance
    unknown   what else of the fall is its own

The part that took the most is the cause, if it is at least three tenths of all that took something. Before that: where
dividends paid since the high make up half of the distance to it, the price fell because it went ex-dividend.

A headline fits when it is about the right one (company, sector, market), is no good news, and came out on the session
of a shock or within three after it. One that does not fit is not believed, whatever it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research import dips as dips_module
from trading_pipeline.research.dip_desk import evidence
from trading_pipeline.research.dip_desk.headlines import fitting
from trading_pipeline.research.dip_desk.paths import Days, Paths, windows
from trading_pipeline.research.dip_desk.rules import CauseRules, Rules, load_rules
from trading_pipeline.research.indicators import YEAR
from trading_pipeline.research.panel import Floats, Integers, Mask, Panel

LOOKBACK = dips_module.LOOKBACK
"""Sessions before the judged one whose bars, actions and members must be passed."""

REFERENCE_LOOKBACK = 252
"""Sessions before the judged one whose news and earnings calendar must be passed: a high is never older."""

CAUSES = ("macro", "sector", "earnings", "company", "ex_dividend", "unknown")
CAUSE_COLUMNS = (
    "on_desk", "cause", "cause_share", "evidence", "news_ids", "verdict", "total", "grade", "gates_failed",
    "sessions_to_report",
)  # fmt: skip

OWN_SHOCKS = 3
"""How many of a fall's own shocks are looked at, the worst first."""

_SIGMA_OF_MEAN_DEVIATION = float(np.sqrt(np.pi / 2))


@np.errstate(divide="ignore", invalid="ignore")
def causes(
    dips: pl.DataFrame,
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    news: pl.DataFrame,
    earnings: pl.DataFrame,
    scores: pl.DataFrame,
    desk: pl.DataFrame,
    benchmark_id: str,
    sessions: Sequence[date],
    rules: Rules | None = None,
) -> pl.DataFrame:
    """The dips of `sessions` with `CAUSE_COLUMNS`, by session and instrument.

    dips: as `dip_opportunities` gives them. bars, actions, members, benchmark_id: as it takes them, from LOOKBACK
    sessions before the first judged one. news: [session, instrument_id, article_id, title, scope, sentiment], by the
    first session whose close is not before an article was there; earnings: [session, instrument_id, last_report_date,
    last_report_session, last_eps_actual, last_eps_estimate, sessions_to_report], what the calendar said on each
    session; both from REFERENCE_LOOKBACK sessions before, and either may be empty. scores: [session, instrument_id,
    verdict, total, grade, gates_failed] and desk: [session, instrument_id], of the judged sessions. sessions: the
    judged ones, ascending.

    cause_share: the cause's part of everything that pulled the price down, 0 to 1 (of the distance to the high for
    ex_dividend); null where the fall is unknown. A share without a beta is measured with a beta of 1. Nothing of a
    later session than the dip's is used.
    """
    rules = load_rules() if rules is None else rules
    judged = pl.Series("session", list(sessions), dtype=pl.Date)
    dips = dips.filter(pl.col("session").is_in(judged.implode())).sort("session", "instrument_id")
    known = dips.join(
        scores.select("session", "instrument_id", "verdict", "total", "grade", "gates_failed"),
        on=["session", "instrument_id"],
        how="left",
        maintain_order="left",
    )
    known = known.join(
        earnings.select("session", "instrument_id", "sessions_to_report"),
        on=["session", "instrument_id"],
        how="left",
        maintain_order="left",
    )
    place = pl.col("session").is_not_null()
    known = known.join(
        desk.select("session", "instrument_id").unique().with_columns(on_desk=place),
        on=["session", "instrument_id"],
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("on_desk").fill_null(False), pl.col("sessions_to_report").cast(pl.Int32))
    if dips.is_empty():
        nothing = {"cause": pl.String, "cause_share": pl.Float64, "evidence": pl.String, "news_ids": pl.String}
        empty = [pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()]
        return known.with_columns(empty).select(*dips.columns, *CAUSE_COLUMNS)

    paths = Paths(bars, actions, members, dips, benchmark_id)
    measured = _measured(paths, earnings, rules.causes)
    judgement = dips.select("session", "instrument_id", "sector", "fall", "high_252", "price", "dip_pct").hstack(
        measured
    )
    heard = fitting(judgement, paths.panel, news, members, rules.causes)
    decided = _decided(judgement, heard, rules.causes)
    told = evidence.told(decided, heard, earnings)
    return known.hstack(told.select("cause", "cause_share", "evidence", "news_ids")).select(
        *dips.columns, *CAUSE_COLUMNS
    )


def _measured(paths: Paths, earnings: pl.DataFrame, rules: CauseRules) -> pl.DataFrame:
    """What the path of each fall says: sums in log points, negative for falls, and the rows of the sessions named.

    `row_*` are rows of the panel, `own_1` … the worst own shocks apart from reports (0 where there is none).
    """
    count = len(paths.row)
    floats: tuple[str, ...] = (
        "market",
        "sector_move",
        "own",
        "index_sigma",
        "own_sigma",
        "market_shock",
        "index_worst",
        "sector_shock",
    )
    floats += ("sector_worst", "reports", "report_worst", *(f"own_{place}" for place in range(1, OWN_SHOCKS + 1)))
    rows = ("index_worst", "sector_worst", "report_worst", *(f"own_{place}" for place in range(1, OWN_SHOCKS + 1)))
    found: dict[str, Floats] = {name: np.zeros(count) for name in floats}
    at: dict[str, Integers] = {f"row_{name}": np.zeros(count, dtype=np.int64) for name in rows}
    after_close = pl.col("last_report_date") < pl.col("last_report_session")
    learned = windows(_reports(paths.panel, earnings))
    sure = windows(_reports(paths.panel, earnings.filter(after_close)))
    market_events = np.zeros(count, dtype=np.int64)
    for days in paths.days():
        dips, row = days.dips, paths.row[days.dips]
        first = row - (YEAR - 1)
        falling = days.falling
        for name, moves in (("market", days.market), ("sector_move", days.sector), ("own", days.own)):
            found[name][dips] = np.where(falling, moves, 0.0).sum(axis=1)

        sigma = _sigma(days.index, np.ones_like(falling))
        shocks = falling & (np.round(days.index + rules.market_event_sigmas * sigma[:, None], 9) <= 0)
        found["index_sigma"][dips], market_events[dips] = sigma, shocks.sum(axis=1)
        _worst(days, days.index, falling, "index_worst", found, at, first)

        _worst(days, days.sector, falling, "sector_worst", found, at, first)

        sigma = _sigma(days.own, days.known)
        shock = (sigma[:, None] > 0) & (np.round(np.abs(days.own) - rules.event_sigmas * sigma[:, None], 9) >= 0)
        known_at = learned[paths.column[dips], row]
        on_report = falling & (known_at > 0) & (known_at <= row[:, None] + 1)
        # The time of day may be unknown: where the session named is quiet and the next one a shock, the report came
        # after the close. One said to have come on an earlier day cannot have been told a session early.
        early = on_report & ~((sure[paths.column[dips], row] > 0) & (known_at > 0))
        moved = np.zeros_like(on_report)
        moved[:, :-1] = early[:, :-1] & ~shock[:, :-1] & shock[:, 1:] & ~on_report[:, 1:]
        on_report &= ~moved
        on_report[:, 1:] |= moved[:, :-1]
        reaction = np.where(on_report, days.own, 0.0)
        found["reports"][dips] = reaction.sum(axis=1)
        _worst(days, reaction, on_report, "report_worst", found, at, first)

        candidates = falling & days.known & ~on_report & shock & (days.own < 0)
        for place in range(1, OWN_SHOCKS + 1):
            taken = _worst(days, days.own, candidates, f"own_{place}", found, at, first)
            candidates[np.arange(len(dips)), taken] = False
    paid, largest, paid_row = paths.paid_since_high()
    return pl.DataFrame({**found, **at, "market_events": market_events}).with_columns(
        row=pl.Series(paths.row),
        column=pl.Series(paths.column),
        paid=pl.Series(paid),
        paid_largest=pl.Series(largest),
        **{
            f"on_{name.removeprefix('row_')}": pl.Series(paths.panel.sessions, dtype=pl.Date).gather(rows_of)
            for name, rows_of in {**at, "row_paid": paid_row, "row_high": paths.row - paths.age}.items()
        },
    )


def _worst(
    days: Days,
    moves: Floats,
    where: Mask,
    name: str,
    found: dict[str, Floats],
    at: dict[str, Integers],
    first: Integers,
) -> Integers:
    """Notes the deepest move of the sessions `where` holds, and its row; its place among the 252."""
    chosen = np.where(where, np.round(moves, 12), 0.0)
    place = chosen.argmin(axis=1)
    found[name][days.dips] = np.minimum(chosen[np.arange(len(place)), place], 0.0)
    at[f"row_{name}"][days.dips] = np.maximum(first + place, 0)
    return np.asarray(place)


def _sigma(moves: Floats, known: Mask) -> Floats:
    """Standard deviation of a session's move by the mean absolute one, of the sessions that moved at all."""
    counted = known & (moves != 0)
    size = np.where(counted, np.abs(moves), 0.0).sum(axis=1)
    return np.asarray(_SIGMA_OF_MEAN_DEVIATION * size / np.maximum(counted.sum(axis=1), 1))


def _reports(panel: Panel, earnings: pl.DataFrame) -> Floats:
    """Sessions x instruments: 1 + the row of the first session that knew of a report that traded here; 0 where none."""
    learned = np.zeros(panel.shape)
    said = earnings.filter(pl.col("last_report_session").is_not_null())
    report = said.select(pl.col("last_report_session").alias("session"), "instrument_id")
    cells, knew = panel.cells(report), panel.rows(said["session"])
    usable = (cells >= 0) & (knew >= 0)
    first = np.full(learned.size, np.inf)
    np.minimum.at(first, cells[usable], knew[usable] + 1.0)
    learned.ravel()[np.isfinite(first)] = first[np.isfinite(first)]
    return learned


def _decided(judgement: pl.DataFrame, heard: pl.DataFrame, rules: CauseRules) -> pl.DataFrame:
    """`judgement` with cause, cause_share and what the cause's parts are."""
    shocks = []
    judgement = judgement.with_row_index("dip")
    for place in range(1, OWN_SHOCKS + 1):
        fitted = heard.filter(pl.col("of") == f"own_{place}")["dip"].unique()
        judgement = judgement.with_columns(pl.col("dip").is_in(fitted.implode()).alias(f"fits_own_{place}"))
        simple = pl.col(f"own_{place}").exp() - 1
        believed = pl.col(f"fits_own_{place}") | (simple.round(9) <= -rules.unexplained_event_fall)
        shocks.append(pl.when(believed).then(-pl.col(f"own_{place}")).otherwise(0.0))
    judgement = judgement.with_columns(
        pull_macro=pl.max_horizontal(-pl.col("market"), 0.0),
        pull_sector=pl.max_horizontal(-pl.col("sector_move"), 0.0),
        pull_earnings=pl.max_horizontal(-pl.col("reports"), 0.0),
        pull_company=pl.sum_horizontal(shocks),
    ).with_columns(pull_unknown=pl.max_horizontal(-pl.col("own") + pl.col("reports") - pl.col("pull_company"), 0.0))
    named = ("macro", "sector", "earnings", "company")
    pulls = [f"pull_{name}" for name in (*named, "unknown")]
    judgement = judgement.with_columns(pulled=pl.sum_horizontal(pulls))
    backed = heard.select("dip", "supports").unique()
    for name in named:
        dips_backed = backed.filter(pl.col("supports") == name)["dip"]
        bonus = pl.when(pl.col("dip").is_in(dips_backed.implode())).then(rules.headline_bonus).otherwise(0.0)
        share = pl.when(pl.col("pulled") > 0).then(pl.col(f"pull_{name}") / pl.col("pulled")).otherwise(0.0)
        judgement = judgement.with_columns(
            share.alias(f"share_{name}"),
            pl.when(share > 0).then((share + bonus).round(9)).otherwise(0.0).alias(f"rank_{name}"),
        )
    unknown = pl.when(pl.col("pulled") > 0).then(pl.col("pull_unknown") / pl.col("pulled")).otherwise(1.0)
    judgement = judgement.with_columns(share_unknown=unknown, rank_unknown=unknown.round(9))
    best = pl.max_horizontal(*(f"rank_{name}" for name in (*named, "unknown")))
    cause = pl.lit("unknown")
    for name in reversed(named):
        enough = pl.col(f"share_{name}").round(9) >= rules.least_share
        cause = pl.when((pl.col(f"rank_{name}") == best) & enough).then(pl.lit(name)).otherwise(cause)
    distance = pl.col("high_252") - pl.col("price")
    paid_share = pl.when(distance > 0).then(pl.col("paid") / distance).otherwise(0.0)
    judgement = judgement.with_columns(paid_share=paid_share).with_columns(
        cause=pl.when(pl.col("paid_share").round(9) >= rules.ex_dividend_share)
        .then(pl.lit("ex_dividend"))
        .otherwise(cause)
    )
    share = pl.when(pl.col("cause") == "ex_dividend").then(pl.min_horizontal("paid_share", 1.0))
    for name in (*named, "unknown"):
        share = share.when(pl.col("cause") == name).then(pl.col(f"share_{name}"))
    known = pl.col("fall").is_not_null() | (pl.col("cause") == "ex_dividend")
    return judgement.with_columns(cause_share=pl.when(known).then(share))
