"""What is held of one instrument, and what a fill, a split or a payment does to it.

What belongs here: the arithmetic of average cost, exact. What does not: many instruments, sessions, frames.

The state is shares and their *cost* in whole millionths, not an average price: closing a part takes its share of the
cost along, rounded to a millionth, and closing all of it takes the rest. So whatever the rounding of single steps, the
profits realised until flat add up to the money that moved, exactly. The average price is cost over shares, for showing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from trading_pipeline.research.money import CENT, to_cents


class Move(NamedTuple):
    """A step of one holding: signed shares, money in millionths.

    opened: shares added to the position (negative: sold short); closed: shares of it that were closed, of its sign;
    money: what flowed in for shares; fee: paid; income: dividends received; realised: profit without fee and income.
    shares, cost: held afterwards. trade: which round trip of the instrument it belongs to, 1, 2 …; ratio: product of
    the splits it has been held through so far in this trade.
    """

    opened: int
    closed: int
    money: int
    fee: int
    income: int
    realised: int
    shares: int
    cost: int
    trade: int
    ratio: float


@dataclass(slots=True)
class Holding:
    """shares: negative for a short position. cost: what they cost, negative where they were sold short."""

    shares: int = 0
    cost: int = 0
    trade: int = 0
    ratio: float = 1.0

    def fill(self, shares: int, price: int, fee: int) -> Iterator[Move]:
        """Buy `shares` (sell where negative) at `price`; two moves where it turns the position around.

        The fee of a fill that turns is shared by shares, in whole cents.
        """
        if self.shares * shares < 0:
            closed = min(abs(shares), abs(self.shares)) * _sign(self.shares)
            rest = shares + closed
            own_fee = fee if rest == 0 else _least_size(to_cents(fee * abs(closed), abs(shares)), fee)
            yield self._close(closed, price, own_fee)
            shares, fee = rest, fee - own_fee
        if shares:
            if self.shares == 0:
                self.trade, self.ratio = self.trade + 1, 1.0
            self.shares += shares
            self.cost += shares * price
            yield self._moved(opened=shares, money=-shares * price, fee=fee)

    def split(self, ratio: Fraction, price_before: int | None) -> Iterator[Move]:
        """`ratio` new shares for each old one; a fraction of a share is paid out at the price before, split as well.

        To the cent; without a price, at cost. A short position pays it. No move where nothing is held.
        """
        if self.shares == 0:
            return
        sign, new_shares = _sign(self.shares), abs(self.shares) * ratio.numerator
        whole, fraction = divmod(new_shares, ratio.denominator)
        removed = _part(self.cost, fraction, new_shares)
        paid = to_cents(removed) if price_before is None else to_cents(sign * fraction * price_before, ratio.numerator)
        self.shares, self.cost = sign * whole, self.cost - removed
        self.ratio *= float(ratio)
        yield self._moved(money=paid if fraction else 0, realised=paid - removed if fraction else 0)

    def pay(self, amount: Fraction) -> Iterator[Move]:
        """A payment of so many units of the currency a share, to the cent; a short position pays it."""
        if self.shares:
            yield self._moved(income=to_cents(self.shares * amount.numerator * 100 * CENT, amount.denominator))

    def _close(self, closed: int, price: int, fee: int) -> Move:
        removed = _part(self.cost, abs(closed), abs(self.shares))
        self.shares -= closed
        self.cost -= removed
        return self._moved(closed=closed, money=closed * price, fee=fee, realised=closed * price - removed)

    def _moved(
        self, *, opened: int = 0, closed: int = 0, money: int = 0, fee: int = 0, income: int = 0, realised: int = 0
    ) -> Move:
        return Move(opened, closed, money, fee, income, realised, self.shares, self.cost, self.trade, self.ratio)


def split_ratio(value: float) -> Fraction:
    """The ratio that was meant by a float: 0.333333 is 1 for 3, so that 300 shares become 100 and not 99.

    Terms up to 1000 are found where the float has six digits of them; odder ones (a spin-off told as a split) up to a
    million.
    """
    simple = Fraction(value).limit_denominator(1000)
    near = simple > 0 and abs(float(simple) / value - 1) <= 2e-6
    return simple if near else Fraction(value).limit_denominator(10**6)


def amount_a_share(value: float) -> Fraction:
    """A payment a share as it was declared: to nine decimals, which undoes the noise of a float."""
    return Fraction(round(value * 10**9), 10**9)


def _sign(number: int) -> int:
    return 1 if number > 0 else -1


def _least_size(amount: int, most: int) -> int:
    """`amount`, but no larger than `most`, which has its sign."""
    return most if abs(amount) > abs(most) else amount


def _part(amount: int, part: int, whole: int) -> int:
    """`amount * part / whole` to a whole millionth, half to even, so that many roundings do not lean to one side."""
    size, rest = divmod(abs(amount) * part, whole)
    size += 2 * rest > whole or (2 * rest == whole and size % 2 == 1)
    return size if amount >= 0 else -size
