"""What there is to risk.

What belongs here: the shape of an account as sizing sees it. What does not: how it came to be (`research/ledger`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

BALANCES = pl.Schema({"equity": pl.Float64(), "buying_power": pl.Float64(), "day_risk": pl.Float64()})
HELD = pl.Schema({"instrument_id": pl.String(), "sector": pl.String(), "risk": pl.Float64()})


@dataclass(frozen=True)
class Account:
    """What there is to risk, one row of balances a group.

    balances: [*group columns, equity, buying_power, day_risk]: value of everything; what may be spent (cash, or what
        the broker lends on it), less what open entries have set aside; risk of the session's entries so far, whether
        they are still open or not.
    held: [*group columns, instrument_id, sector (nullable), risk]: every position and every open entry, with the money
        that is lost if its stop is hit. Open heat and risk per sector are its sums: there is no second truth of them.
    """

    balances: pl.DataFrame
    held: pl.DataFrame

    @classmethod
    def of(
        cls,
        equity: float,
        buying_power: float | None = None,
        *,
        day_risk: float = 0.0,
        held: Iterable[Mapping[str, object]] | pl.DataFrame = (),
    ) -> Account:
        """One account, no groups. buying_power: None for all of the equity. held: a frame, or its rows."""
        power = equity if buying_power is None else buying_power
        balances = pl.DataFrame([(equity, power, day_risk)], schema=BALANCES, orient="row")
        frame = held if isinstance(held, pl.DataFrame) else pl.DataFrame([dict(each) for each in held], schema=HELD)
        return cls(balances, frame)
