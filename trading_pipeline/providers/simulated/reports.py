"""Report dates, estimates and results of the simulated companies, every version that was ever told.

What belongs here: the calendar a provider would tell. What is reported is in `accounts.py`. A report comes in versions,
each with its own `available_at`, none later than the clock:

1. an estimated date, told two sessions after the report before (or at the listing); 55 % of them are off by up to two
   weeks, 30 % name no time of day;
2. for 30 % of the reports another estimate of the date, 38 sessions ahead, half as far off;
3. the date the company confirms, 15 to 30 sessions ahead (three to six weeks): right, with bmo or amc;
4. the final consensus, five sessions ahead;
5. the result: minutes after the close (amc) or an hour or two before the open (bmo) of the session that trades on it.

A company whose end is announced confirms and reports no more; what it was expected to report stays as it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.providers.reference import EARNINGS_SCHEMA
from trading_pipeline.providers.simulated.accounts import BACK, Books
from trading_pipeline.providers.simulated.draws import Floats, Ints, Stream
from trading_pipeline.sessions import calendar

DATE_OFF: Final = 0.55
DATE_OFF_BY: Final = (-7, 8)  # sessions
SECOND_GUESS: Final = 0.3
SECOND_GUESS_AHEAD: Final = 38
CONFIRMED_AHEAD: Final = (15, 30)
CONSENSUS_AHEAD: Final = 5
TIMING_UNKNOWN: Final = 0.3
NO_ESTIMATE: Final = 0.04
NO_REVENUE_ESTIMATE: Final = 0.1
_MINUTE: Final = np.timedelta64(1, "m")


def report_moments(books: Books, company: Ints, quarter: Ints) -> np.ndarray:
    """When the results of held reports come out, datetime64[us] in UTC."""
    market = books.market
    exchange = calendar(market.market.exchange)
    position = books.position[company, quarter]
    drawn = _drawn(books, company, quarter, Stream.REPORTS)[7]
    after = exchange.closes(market.sessions[position - 1]) + (5 + 40 * drawn).astype(np.int64) * _MINUTE
    before = opens(books, position) - (60 + 90 * drawn).astype(np.int64) * _MINUTE
    moments: np.ndarray = np.where(books.character.after_close[company], after, before)
    return moments


def opens(books: Books, position: Ints) -> np.ndarray:
    """When the sessions at the positions open, datetime64[us] in UTC."""
    exchange = calendar(books.market.market.exchange)
    distinct, inverse = np.unique(position, return_inverse=True)
    sessions = books.market.sessions[distinct].tolist()
    moments = [exchange.open_at(session).replace(tzinfo=None) for session in sessions]
    return np.array(moments, dtype="datetime64[us]")[inverse]


def earnings(
    books: Books, companies: Ints, symbols: Sequence[str], first: date, last: date, now: datetime
) -> pl.DataFrame:
    """`EARNINGS_SCHEMA`: every version told by `now` of the reports that any version dates from `first` to `last`.

    By symbol, fiscal period and `available_at`. Amounts per share are those of the shares of the session on which they
    were told, to a hundredth of a cent; revenue is in units of the market's currency.
    """
    market = books.market
    reach = [market.position(first) - 20, market.position(last, after=True) + 20]
    low, high = np.searchsorted(market.bounds, np.clip(reach, 0, len(market.sessions) - 1), "right") - 1
    which, quarter = np.nonzero(books.position[companies, low : high + 1] >= 0)
    frame = _versions(books, companies[which], quarter + low, pl.Series(list(symbols), dtype=pl.String).gather(which))
    meant = pl.col("report_date").is_between(first, last).any().over("symbol", "fiscal_period")
    return (
        frame.filter(pl.col("available_at") <= now)
        .filter(meant)
        .select(EARNINGS_SCHEMA.names())
        .sort("symbol", "fiscal_period", "available_at")
    )


@np.errstate(invalid="ignore")
def _versions(books: Books, company: Ints, quarter: Ints, symbols: pl.Series) -> pl.DataFrame:
    """Every version of the reports that are due in the quarters, those of the future included."""
    market, character = books.market, books.character
    uniform, normal = (_drawn(books, company, quarter, stream) for stream in (Stream.REPORTS, Stream.ESTIMATES))
    due = books.position[company, quarter]
    told = _announced(books, company, quarter)
    reported = books.held[company, quarter]
    low, high = DATE_OFF_BY
    off = np.where(uniform[0] < DATE_OFF, low + (uniform[1] * (high - low + 1)).astype(np.int64), 0)
    ahead = CONFIRMED_AHEAD[0] + (uniform[2] * (CONFIRMED_AHEAD[1] - CONFIRMED_AHEAD[0] + 1)).astype(np.int64)
    confirmed_on = np.maximum(due - ahead, told + 1)
    guessed_on = np.maximum(due - SECOND_GUESS_AHEAD, told + 1)
    goes_on = books.announced[company]

    # What the last published quarter lets expect; the consensus just before the report knows the quarter.
    basis = books.published(company, np.minimum(told, market.horizon - 1))
    growth = np.exp(character.revenue_growth[company] / 4)
    net, revenue = (books.column(name)[company, basis] * growth for name in ("net", "revenue"))
    final, final_revenue = (
        books.column(name)[company, BACK + quarter] for name in ("expected_net", "expected_revenue")
    )
    result, result_revenue = (books.column(name)[company, BACK + quarter] for name in ("net", "revenue"))
    unsure = np.maximum(np.abs(net), 0.02 * revenue)
    timing = np.where(character.after_close[company], "amc", "bmo")
    vague = np.where(uniform[3] < TIMING_UNKNOWN, "unknown", timing)
    spared = uniform[4] < NO_ESTIMATE, uniform[5] < NO_REVENUE_ESTIMATE
    stages = (
        (told >= 0, told, due + off, vague, False, net + 0.03 * normal[0] * unsure, revenue * (1 + 0.01 * normal[1])),
        (
            (told >= 0) & (uniform[6] < SECOND_GUESS) & (guessed_on < confirmed_on),
            guessed_on,
            due + off // 2,
            timing,
            False,
            net + 0.025 * normal[2] * unsure,
            revenue * (1 + 0.008 * normal[3]),
        ),
        (
            (told >= 0) & (confirmed_on < np.minimum(goes_on, due - CONSENSUS_AHEAD)),
            confirmed_on,
            due,
            timing,
            True,
            net + 0.02 * normal[4] * unsure,
            revenue * (1 + 0.006 * normal[5]),
        ),
        (due - CONSENSUS_AHEAD < goes_on, due - CONSENSUS_AHEAD, due, timing, True, final, final_revenue),
        (reported, due, due, timing, True, final, final_revenue),
    )
    moments = report_moments(books, company, quarter)
    parts = []
    for stage, (happens, on, date_at, when, confirmed, per_company, sales) in enumerate(stages):
        results = stage == len(stages) - 1
        # Before the market is simulated that far nobody can be told.
        rows = np.flatnonzero(happens & (on < market.horizon))
        place = on[rows]
        shares = books.shares(company[rows], place)
        dated = date_at[rows] - (timing[rows] == "amc")
        available = moments[rows] if results else opens(books, place) - 120 * _MINUTE
        nothing = np.full(len(rows), np.nan)
        parts.append(
            pl.DataFrame(
                {
                    "symbol": symbols.gather(rows),
                    "report_date": pl.Series(
                        market.sessions[np.minimum(dated, len(market.sessions) - 1)], dtype=pl.Date
                    ),
                    "timing": pl.Series(when[rows], dtype=pl.String),
                    "fiscal_period": _periods(market.register.blocks[quarter[rows]] - 1),
                    "eps_estimate": np.where(spared[0][rows], np.nan, np.round(per_company[rows] / shares, 4)),
                    "eps_actual": np.round(result[rows] / shares, 4) if results else nothing,
                    "revenue_estimate": np.where(spared[1][rows], np.nan, np.round(sales[rows], -4)),
                    "revenue_actual": np.round(result_revenue[rows], -4) if results else nothing,
                    "confirmed": pl.repeat(confirmed, len(rows), eager=True, dtype=pl.Boolean),
                    "available_at": pl.Series(available, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"),
                }
            ).with_columns(pl.col(pl.Float64).fill_nan(None))
        )
    return pl.concat(parts)


def _announced(books: Books, company: Ints, quarter: Ints) -> Ints:
    """Position from which a report's estimated date is told; -1 where the one before it was cancelled.

    Nothing is told of the quarter after a cancelled report: a company whose end is announced plans none.
    """
    before = np.maximum(quarter - 1, 0)
    earlier = np.where(quarter > 0, books.position[company, before], -1)
    listing = np.maximum(books.first[company], 0)
    start = np.where(earlier >= 0, earlier + 2, np.maximum(books.market.bounds[quarter] - 45, listing))
    cancelled = (earlier >= 0) & (earlier < books.market.horizon) & ~books.held[company, before]
    return np.where(cancelled, -1, start)


def _periods(block: Ints) -> pl.Series:
    """Names of the quarters, such as 2025Q1."""
    distinct, inverse = np.unique(block, return_inverse=True)
    names = pl.Series([f"{each // 4}Q{each % 4 + 1}" for each in distinct.tolist()], dtype=pl.String)
    return names.gather(inverse)


def _drawn(books: Books, company: Ints, quarter: Ints, stream: Stream) -> Floats:
    """Uniforms (REPORTS) or standard normals (ESTIMATES) of each report, draws x reports."""
    market = books.market
    drawn = np.empty((8, len(company)))
    for each in np.unique(quarter).tolist():
        generator = market.draws.generator(stream, int(market.register.blocks[each]))
        shape = (market.slots, 8)
        values = generator.random(shape) if stream is Stream.REPORTS else generator.standard_normal(shape)
        here = quarter == each
        drawn[:, here] = values[books.character.slot[company[here]]].T
    return drawn
