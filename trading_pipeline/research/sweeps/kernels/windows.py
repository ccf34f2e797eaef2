"""Windows over an instrument's own bars.

What belongs here: sums over windows of many lengths at once, and the bits of what is known. What does not: what is
measured by them.

Tables are [lengths, bars padded to a multiple of 64], so that 64 bars are one word of bits; NaN in the padding.
"""

from __future__ import annotations

import numpy as np

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.sweeps.kernels.compiled import compiled
from trading_pipeline.research.sweeps.kernels.rules import Bits


@compiled
def window_sums(values: Floats, rows: Integers, lengths: Integers, gap: int) -> Floats:
    """Sum of the last `length` values for each of the lengths; a table.

    rows: row of each bar's session, ascending. NaN where there are fewer values, or where they do not lie within
    length + gap sessions. Bit for bit what `panel.window_sum` gives: built of the same sums of 1, 2, 4, … values in
    the same order, which all lengths share.
    """
    bars = len(values)
    sums = np.empty((len(lengths), (bars + 63) // 64 * 64))
    levels = 1
    while (1 << levels) <= bars:
        levels += 1
    blocks = np.empty((levels, bars))
    blocks[0] = values
    for level in range(1, levels):
        half = 1 << (level - 1)
        blocks[level] = blocks[level - 1]
        target, earlier = blocks[level, half:], blocks[level - 1]
        for bar in range(len(target)):
            target[bar] += earlier[bar]
    for each in range(len(lengths)):
        length, into, done = lengths[each], sums[each], 0
        into[:bars] = 0.0
        for level in range(levels):
            if length >> level & 1:
                # Slices begin at 0, which lets the compiler see that no index is negative: four bars at a time.
                target, block = into[done:bars], blocks[level]
                for bar in range(len(target)):
                    target[bar] += block[bar]
                done = min(done + (1 << level), bars)
        sums[each, : min(length - 1, bars)] = np.nan
        sums[each, bars:] = np.nan
        if bars and rows[-1] - rows[0] >= bars:
            for bar in range(length - 1, bars):
                if rows[bar] - rows[bar - length + 1] >= length + gap:
                    sums[each, bar] = np.nan
    return sums


@compiled
def known(table: Floats) -> Bits:
    """Bits of where a table is not NaN."""
    lines, padded = table.shape
    bits = np.empty((lines, padded // 64), np.uint64)
    for line in range(lines):
        values = table[line]
        for word in range(padded // 64):
            there = np.uint64(0)
            for bit in range(64):
                value = values[word * 64 + bit]
                there |= np.uint64(value == value) << np.uint64(bit)  # noqa: PLR0124 - not NaN
            bits[line, word] = there
    return bits


@compiled
def higher(left: Floats, right: Floats, left_of: Integers, right_of: Integers) -> Bits:
    """Bits of where line left_of[i] of the table `left` is above line right_of[i] of the table `right`, for every i."""
    pairs, words = len(left_of), left.shape[1] // 64
    bits = np.empty((pairs, words), np.uint64)
    for pair in range(pairs):
        first, second = left[left_of[pair]], right[right_of[pair]]
        for word in range(words):
            above = np.uint64(0)
            for bit in range(64):
                above |= np.uint64(first[word * 64 + bit] > second[word * 64 + bit]) << np.uint64(bit)
            bits[pair, word] = above
    return bits


@compiled
def from_bar(first: Integers, bits: Bits) -> Bits:
    """The bits from bar first[i] on, one row for every i."""
    cut = np.zeros((len(first), len(bits)), np.uint64)
    for each in range(len(first)):
        word = first[each] >> 6
        if word < len(bits):
            cut[each, word] = bits[word] & ~np.uint64(0) << np.uint64(first[each] & 63)
            cut[each, word + 1 :] = bits[word + 1 :]
    return cut
