"""Wished entries and what there is to risk, as arrays: the way in from the frames.

What belongs here: types, missing values, which account an entry is of. What does not: levels, limits and refusals
(`checks.py`, `sizing.py`).

Arrays, because sizing is asked for a few entries at a time, at every tick and every session: planning the same as
operations on frames took 9 ms a call, whatever the number of rows; ten entries as arrays take less than one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.money import MICROS, Money
from trading_pipeline.research.panel import Integers, Mask
from trading_pipeline.research.risk.account import BALANCES, HELD, Account

MOST = 1e12
"""Money above a million millions counts as that much: 64 bits hold it in millionths."""


@dataclass(frozen=True)
class Column:
    """Numbers or texts. values: NaN or None where missing; missing: null in the frame, which its NaN are not."""

    values: npt.NDArray[Any]
    missing: Mask

    @classmethod
    def of(cls, frame: pl.DataFrame, name: str, dtype: type[pl.DataType], otherwise: float | None = None) -> Column:
        """A column of the frame; missing where it is no `dtype`. otherwise: where the frame has no such column."""
        if name not in frame.columns:
            kind = np.float64 if dtype == pl.Float64 else np.object_
            return cls(np.full(frame.height, otherwise, dtype=kind), np.full(frame.height, otherwise is None))
        series = frame[name].cast(dtype, strict=False)
        values = series.to_numpy()
        missing = np.isnan(values) if dtype == pl.Float64 else values == None  # noqa: E711
        # Only where the frame has NaN, they and nulls have to be told apart.
        several = np.count_nonzero(missing) > series.null_count()
        return cls(values, series.is_null().to_numpy() if several else missing)

    def take(self, places: Integers) -> Column:
        """The values at these places."""
        return Column(self.values[places], self.missing[places])


@dataclass(frozen=True)
class Accounts:
    """What there is to risk, one element an account, and one more at the end, which place -1 is: that of no account.

    heat: open risk in millionths. held_known: whether the risk of all that is held is known.
    """

    equity: Column
    buying_power: Column
    day_risk: Column
    heat: Money
    held_known: Mask


@dataclass(frozen=True)
class Entries:
    """Wished entries, one element each, and what is known of their sectors and names.

    edges: one where missing. account: place in `accounts`. sector, name: codes, unique across accounts; sector_account
    and sector_risk (open risk in millionths), and whether a name is held, are by code.
    """

    instrument_id: Column
    side: Column
    environment: Column
    entry: Column
    stop: Column
    target: Column
    size: Column
    edges: Column
    strength: Column
    account: Integers
    accounts: Accounts
    sector: Integers
    sector_account: Integers
    sector_risk: Money
    name: Integers
    name_held: Mask


def entries_of(candidates: pl.DataFrame, account: Account, by: Sequence[str]) -> Entries:
    """The entries of `sizing.sized` as arrays. `ValueError` where a column is missing or an account is there twice."""
    _require(candidates, [*by, "instrument_id", "side", "entry", "stop"], "candidates")
    _require(account.balances, [*by, *BALANCES], "balances")
    _require(account.held, [*by, *HELD], "held")
    texts = {name: Column.of(candidates, name, pl.String) for name in ("instrument_id", "side", "environment")}
    numbers = {name: Column.of(candidates, name, pl.Float64) for name in ("entry", "stop", "target", "size")}
    edges = Column.of(candidates, "edges", pl.Float64)
    own, held = _places(candidates, account, by)

    held_id, risk = Column.of(account.held, "instrument_id", pl.String), Column.of(account.held, "risk", pl.Float64)
    known = np.isfinite(risk.values)
    at_risk = np.rint(np.clip(np.where(known, risk.values, 0.0), 0, MOST) * MICROS).astype(np.int64)
    held_known = np.ones(account.balances.height + 1, dtype=np.bool_)
    held_known[held[~known | held_id.missing]] = False

    held_sector = Column.of(account.held, "sector", pl.String).values
    sector = Column.of(candidates, "sector", pl.String).values
    sectors, sector_code = _codes(held, held_sector, own, sector)
    names, name_code = _codes(held, held_id.values, own, texts["instrument_id"].values)
    name_held = np.zeros(len(names), dtype=np.bool_)
    name_held[name_code[: len(held)]] = True
    return Entries(
        **texts,
        **numbers,
        edges=Column(np.where(edges.missing, 1.0, edges.values), np.zeros_like(edges.missing)),
        strength=Column.of(candidates, "strength", pl.Float64, 1.0),
        account=own,
        accounts=Accounts(
            **{name: _with_none(Column.of(account.balances, name, pl.Float64)) for name in BALANCES},
            heat=_sums(held, at_risk, account.balances.height + 1),
            held_known=held_known,
        ),
        sector=sector_code[len(held) :],
        sector_account=np.array([place for place, _ in sectors], dtype=np.int64),
        sector_risk=_sums(sector_code[: len(held)], at_risk, len(sectors)),
        name=name_code[len(held) :],
        name_held=name_held,
    )


def _require(frame: pl.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lack {', '.join(missing)}")


def _places(candidates: pl.DataFrame, account: Account, by: Sequence[str]) -> tuple[Integers, Integers]:
    """The row of the balances that each candidate, and each holding, is of; -1 where there is none."""
    balances = account.balances
    keys = [pl.col(name).alias(f"by_{place}") for place, name in enumerate(by)]
    if balances.select(keys).is_duplicated().any() if by else balances.height > 1:
        raise ValueError(f"there are two balances of one {', '.join(by) or 'account'}")

    def of(frame: pl.DataFrame) -> Integers:
        if not by:
            return np.full(frame.height, balances.height - 1)
        names = [f"by_{place}" for place in range(len(by))]
        rows = balances.select(*keys, pl.int_range(pl.len()).alias("row"))
        found = frame.select(keys).join(rows, on=names, how="left", maintain_order="left", nulls_equal=True)
        return found["row"].fill_null(-1).to_numpy()

    return of(candidates), of(account.held)


def _with_none(balance: Column) -> Column:
    """The balances of the accounts, and that of none."""
    return Column(np.append(balance.values, np.nan), np.append(balance.missing, values=True))


def _codes(
    held: Integers, of_held: npt.NDArray[Any], own: Integers, of_own: npt.NDArray[Any]
) -> tuple[list[tuple[int, Hashable]], Integers]:
    """The pairs of account and text that there are, and each one's place among them, of holdings and then of entries.

    A missing text is a text of its own.
    """
    codes: dict[tuple[int, Hashable], int] = {}
    pairs = zip([*held.tolist(), *own.tolist()], [*of_held, *of_own], strict=True)
    places = [codes.setdefault(pair, len(codes)) for pair in pairs]
    return list(codes), np.array(places, dtype=np.int64)


def _sums(places: Integers, amounts: Money, count: int) -> Money:
    sums = np.zeros(count, dtype=np.int64)
    np.add.at(sums, places, amounts)
    return sums
