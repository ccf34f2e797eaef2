"""The accounting every sweep shares: what became of one instrument under many sets of signals.

What belongs here: fills, costs, and the summary metrics of a parameter set. What does not: which session has a signal
(the modules beside it).

The account is all in cash or all in the one instrument. A decision at the close of bar i is filled at the open of bar
i + 1, costs are proportional to the money traded, and a position that is open at the end is valued at the last close:
vectorbt's `Portfolio.from_signals` with `price=open` and signals moved to the next bar, number for number.

*Signals are bits*, 64 bars a word, so that the walk jumps from an entry to its exit instead of looking at every bar.
What a holding earned between them comes from blocks of 1, 2, 4, … bars that are made once for an instrument: their
sums of returns and of squared returns, highest and lowest close, and deepest fall. A holding of n bars is at most
log2(n) blocks side by side, whose fall is the deepest of their own and of the falls from an earlier block's highest to
a later one's lowest close. All of it is sums and maxima of the bars held and nothing a difference of running totals, so
that a price that once was 10,000 times higher leaves no trace in trades that did not hold it.

Sessions on which nothing is held return 0, and so do sessions without a bar; both count in the Sharpe ratio.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from trading_pipeline.research.panel import GAP, Floats, Integers
from trading_pipeline.research.sweeps.kernels.compiled import compiled
from trading_pipeline.research.sweeps.kernels.rules import Bits

YEAR = 252
"""Sessions."""

# Columns of the table of fills, one row a bar.
BUY, PER_BUY, CLOSE, PER_CLOSE, ENTERED, SELL, PER_SELL, LEFT = range(8)
# Columns of a block of bars.
SUM, SQUARES, HIGHEST, LOWEST_INVERTED, FALL = range(5)
# Rows of what comes out.
TOTAL_RETURN, SHARPE, MAX_DRAWDOWN, EXPOSURE, WIN_RATE = range(5)


class InstrumentBars(NamedTuple):
    """One instrument's bars, without the sessions that have none.

    close: of each bar. rows: row of its session. enters: bits of the bars whose decision to enter is filled, because
    the next bar is not too far away. leaves: of those whose decision to leave is, which are all but the last. follows:
    of those whose bar before is at most `GAP` sessions away. fills, blocks: tables of the accounting.
    """

    close: Floats
    rows: Integers
    enters: Bits
    leaves: Bits
    follows: Bits
    fills: Floats
    blocks: Floats


def instrument_bars(opens: Floats, closes: Floats, fees: float, slippage: float, carry_sessions: int) -> InstrumentBars:
    """The bars of one instrument.

    opens, closes: one a session, NaN where there is no bar. fees, slippage: shares of the money traded. carry_sessions:
    without a bar that an order to enter may wait; one to leave waits as long as it takes.
    """
    return InstrumentBars(*bars_and_blocks(opens, closes, fees, slippage, carry_sessions, GAP))


def _lowest_set_bit(typing: Any, word: Any) -> Any:
    """Position of the lowest bit that is set in a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


_lowest_bit: Any = intrinsic(_lowest_set_bit)


@compiled
def bars_and_blocks(
    opens: Floats, closes: Floats, fees: float, slippage: float, carry_sessions: int, gap: int
) -> tuple[Floats, Integers, Bits, Bits, Bits, Floats, Floats]:
    """The fields of `InstrumentBars`."""
    sessions = len(closes)
    count = 0
    for row in range(sessions):
        count += np.isfinite(closes[row]) and np.isfinite(opens[row])
    close, rows = np.empty(count), np.empty(count, np.int64)
    fills = np.empty((count, 8))
    words = (count + 63) // 64
    enters, leaves, follows = np.zeros(words, np.uint64), np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    bar = 0
    for row in range(sessions):
        opened, price = opens[row], closes[row]
        if not (np.isfinite(price) and np.isfinite(opened)):
            continue
        close[bar], rows[bar] = price, row
        buy, sell = opened * (1 + slippage) * (1 + fees), opened * (1 - slippage) * (1 - fees)
        fills[bar, BUY], fills[bar, PER_BUY] = buy, 1 / buy
        fills[bar, CLOSE], fills[bar, PER_CLOSE] = price, 1 / price
        fills[bar, ENTERED] = price / buy - 1
        fills[bar, SELL], fills[bar, PER_SELL] = sell, 1 / sell
        fills[bar, LEFT] = sell / close[bar - 1] - 1 if bar else 0.0
        if bar:
            before, apart = bar - 1, row - rows[bar - 1]
            leaves[before >> 6] |= np.uint64(1) << np.uint64(before & 63)
            enters[before >> 6] |= np.uint64(apart <= 1 + carry_sessions) << np.uint64(before & 63)
            follows[bar >> 6] |= np.uint64(apart <= gap) << np.uint64(bar & 63)
        bar += 1
    levels = 1
    while (1 << levels) <= count:
        levels += 1
    blocks = np.empty((levels, count, 5))
    for bar in range(count):
        change = close[bar] / close[bar - 1] - 1 if bar else 0.0
        blocks[0, bar, SUM], blocks[0, bar, SQUARES] = change, change * change
        blocks[0, bar, HIGHEST], blocks[0, bar, LOWEST_INVERTED] = close[bar], 1 / close[bar]
        blocks[0, bar, FALL] = 1.0
    for level in range(1, levels):
        half = 1 << (level - 1)
        for bar in range(count - 2 * half + 1):
            first, second = blocks[level - 1, bar], blocks[level - 1, bar + half]
            whole = blocks[level, bar]
            whole[SUM] = first[SUM] + second[SUM]
            whole[SQUARES] = first[SQUARES] + second[SQUARES]
            whole[HIGHEST] = max(first[HIGHEST], second[HIGHEST])
            whole[LOWEST_INVERTED] = max(first[LOWEST_INVERTED], second[LOWEST_INVERTED])
            whole[FALL] = max(first[FALL], second[FALL], first[HIGHEST] * second[LOWEST_INVERTED])
    return close, rows, enters, leaves, follows, fills, blocks


@compiled
def account(
    entries: Bits,
    exits: Bits,
    rows: Integers,
    fills: Floats,
    blocks: Floats,
    sessions: int,
    out: Floats,
    trades_out: npt.NDArray[np.int32],
) -> None:
    """Summary metrics of every parameter set on one instrument, into `out` [metric, parameter set] and `trades_out`.

    entries, exits: bits, one row a parameter set, one bit a bar, none that will not be filled. Where both are set, the
        exit holds. rows, fills, blocks: of `InstrumentBars`. sessions: how many the panel has.
    """
    bars = len(rows)
    words = entries.shape[1]
    for each in range(len(entries)):
        opening, closing = entries[each], exits[each]
        value, total, squares = 1.0, 0.0, 0.0
        # Highest value so far over the value now, and the highest that this ever was.
        under, deepest = 1.0, 1.0
        trades, closed, won, held = 0, 0, 0, 0
        start: Any = 0
        last: Any = 0
        while start < bars:
            # The next entry at or after bar `start`, which is filled one bar later.
            word = start >> 6
            bits = (opening[word] & ~closing[word]) >> np.uint64(start & 63)
            if bits:
                entered = start + np.int64(_lowest_bit(bits)) + 1
            else:
                word += 1
                while word < words and not opening[word] & ~closing[word]:
                    word += 1
                if word == words:
                    break
                entered = (word << 6) + np.int64(_lowest_bit(opening[word] & ~closing[word])) + 1
            # The next exit at or after that bar.
            word = entered >> 6
            bits = closing[word] >> np.uint64(entered & 63)
            if bits:
                last = entered + np.int64(_lowest_bit(bits))
                leaves = True
            else:
                word += 1
                while word < words and not closing[word]:
                    word += 1
                leaves = word < words
                last = (word << 6) + np.int64(_lowest_bit(closing[word])) if leaves else bars - 1

            trades += 1
            total += fills[entered, ENTERED]
            squares += fills[entered, ENTERED] * fills[entered, ENTERED]
            peak = max(under * fills[entered, BUY], fills[entered, CLOSE])
            deepest = max(deepest, peak * fills[entered, PER_CLOSE])
            place: Any = entered + 1
            left: Any = last - entered
            while left:
                level = np.int64(_lowest_bit(np.uint64(left)))
                block = blocks[level, place]
                total += block[SUM]
                squares += block[SQUARES]
                deepest = max(deepest, block[FALL], peak * block[LOWEST_INVERTED])
                peak = max(peak, block[HIGHEST])
                place += 1 << level
                left &= left - 1
            if not leaves:
                value *= fills[last, CLOSE] * fills[entered, PER_BUY]
                held += sessions - rows[entered]
                break
            sold = last + 1
            total += fills[sold, LEFT]
            squares += fills[sold, LEFT] * fills[sold, LEFT]
            under = max(1.0, peak * fills[sold, PER_SELL])
            deepest = max(deepest, under)
            value *= fills[sold, SELL] * fills[entered, PER_BUY]
            held += rows[sold] - rows[entered]
            closed += 1
            won += fills[sold, SELL] > fills[entered, BUY]
            start = sold

        out[TOTAL_RETURN, each] = value - 1
        # Returns that do not vary but for rounding have no Sharpe ratio.
        spread = squares - total * total / sessions
        varies = sessions > 1 and spread > 1e-13 * squares
        deviation = np.sqrt(spread / (sessions - 1)) if varies else np.nan
        out[SHARPE, each] = total / sessions / deviation * np.sqrt(YEAR)
        out[MAX_DRAWDOWN, each] = 1 / deepest - 1
        out[EXPOSURE, each] = held / sessions
        out[WIN_RATE, each] = won / closed if closed else np.nan
        trades_out[each] = trades
