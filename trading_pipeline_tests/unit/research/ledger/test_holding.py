"""The arithmetic of one holding, in millionths."""

from __future__ import annotations

from fractions import Fraction

import pytest

from trading_pipeline.research.ledger.holding import Holding, amount_a_share, split_ratio


@pytest.mark.parametrize(
    ("shares", "cost", "removed"),
    [(2, 5, 2), (2, 7, 4), (3, 8, 3), (3, 7, 2), (2, 6, 3), (-2, -5, -2), (-2, -7, -4), (-3, -8, -3)],
)
def test_a_part_of_the_cost_is_rounded_half_to_even(shares, cost, removed):
    """So that ten thousand small sales do not move the average price to one side."""
    held = Holding(shares, cost)
    (move,) = held.fill(-1 if shares > 0 else 1, 100, 0)
    assert cost - move.cost == removed
    assert move.realised == (100 if shares > 0 else -100) - removed


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (2.0, Fraction(2)), (0.333333, Fraction(1, 3)), (1.5, Fraction(3, 2)), (0.1, Fraction(1, 10)),
        (0.0667, Fraction(667, 10_000)), (1.281, Fraction(1281, 1000)), (1.0471234, Fraction(1_047_123, 10**6)),
    ],
)  # fmt: skip
def test_the_ratio_that_was_meant(value, meant):
    assert float(split_ratio(value)) == pytest.approx(float(meant), rel=2e-6)
    if meant.denominator <= 1000:
        assert split_ratio(value) == meant


def test_an_amount_is_to_nine_decimals():
    assert amount_a_share(0.1 + 0.2) == Fraction(3, 10)


def test_the_fee_of_a_fill_that_turns_is_shared_in_cents():
    held = Holding(100, 100)
    moves = list(held.fill(-130, 1, 10_000))
    assert [move.fee for move in moves] == [10_000, 0]
    held = Holding(10, 10)
    assert [move.fee for move in held.fill(-20, 1, 5_000)] == [0, 5_000], "less than a cent is not shared"
