"""The ledger while a session runs: updated fill by fill, at a cost that does not grow with the history.

What belongs here: holdings and cash as of the last fill. What does not: round trips, and anything a finished session
needs (`derived.py`); both come from the same steps (`holding.py`), so they agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from trading_pipeline.research.ledger.derived import valued
from trading_pipeline.research.ledger.holding import Holding, Move
from trading_pipeline.research.ledger.journal import FILL, PAYMENT, SPLIT, checked, journal, ranked, step
from trading_pipeline.research.ledger.marks import last_prices, usable_actions
from trading_pipeline.research.money import MICROS, micros

_Place = tuple[datetime, int, str]
_FILL = (
    "instrument_id", "ticker", "at", "rank", "fill_id", "order_id", "parent_id", "side", "quantity", "price", "fee",
)  # fmt: skip


class LateFill(ValueError):
    """A fill that belongs before one that was taken in already: only a ledger of all fills says what it comes to."""


@dataclass
class _Line:
    """One instrument. after: place of its last fill of the session; filled, exited: orders filled at that moment, and
    those whose legs were.
    """

    ticker: str
    held: Holding = field(default_factory=Holding)
    after: _Place | None = None
    filled: set[str] = field(default_factory=set)
    exited: set[str] = field(default_factory=set)

    def comes_late(self, at: datetime, rank: int, fill_id: str, order_id: str) -> bool:
        """Whether the fill belongs before what was taken in."""
        if self.after is None:
            return False
        own_leg_is_in = at == self.after[0] and order_id in self.exited - self.filled
        return (at, rank, fill_id) < self.after or own_leg_is_in

    def taken(self, at: datetime, rank: int, fill_id: str, order_id: str, parent_id: str | None) -> None:
        """Note the place of a fill that was taken in."""
        if self.after is None or self.after[0] != at:
            self.filled.clear()
            self.exited.clear()
        self.after = (at, rank, fill_id)
        self.filled.add(order_id)
        if parent_id is not None:
            self.exited.add(parent_id)


@dataclass
class _Flow:
    """Sums of the session, in millionths."""

    realised: int = 0
    fee: int = 0
    income: int = 0


class Exposure:
    """Cash and holdings, from the start of a book on.

    `begin` a session, `take` its fills, `mark` prices, in any mixture; ask for `account` and `positions` whenever. The
    same as `ledger` of everything taken in, for the session begun last.
    """

    def __init__(self, cash: float) -> None:
        """cash: at the start of the book."""
        self.session: date | None = None
        self._cash = self._cash_before = micros(cash)
        self._lines: dict[str, _Line] = {}
        self._marks: dict[str, float] = {}
        self._seen: set[str] = set()
        self._flow = _Flow()

    @classmethod
    def of(
        cls,
        orders: pl.DataFrame,
        fills: pl.DataFrame,
        cash: float,
        session: date,
        actions: pl.DataFrame | None = None,
        prices: pl.DataFrame | None = None,
    ) -> Exposure:
        """As it is in `session` after all of `fills`, from the first one of the book on: for a loop that starts again.

        All as for `ledger`. prices of the session itself are not marked; later fills are not taken in.
        """
        earlier, yesterday = pl.col("session") < session, session - timedelta(days=1)
        booked = None if actions is None else actions.filter(earlier)
        steps = journal(orders, fills.filter(earlier), booked, prices)
        last = steps.group_by("instrument_id", maintain_order=True).last().filter(pl.col("shares") != 0)
        exposure = cls(cash)
        exposure.session = yesterday
        exposure._cash += steps.select((pl.col("money") + pl.col("income") - pl.col("fee")).sum()).item()
        for row in last.iter_rows(named=True):
            held = Holding(row["shares"], row["cost"], row["trade"], row["ratio"])
            exposure._lines[row["instrument_id"]] = _Line(row["ticker"], held)
        if prices is not None:
            keys = prices.select("instrument_id", session=pl.lit(yesterday))
            marks = last_prices(keys, prices, usable_actions(actions), before=False).drop_nulls("price")
            exposure.mark(marks.select("instrument_id", "price").rows())
        exposure.begin(session, actions)
        exposure.take(fills.filter(pl.col("session") == session), orders)
        return exposure

    @property
    def cash(self) -> float:
        """Cash now."""
        return self._cash / MICROS

    def shares(self, instrument_id: str) -> int:
        """Shares held, negative for a short position."""
        line = self._lines.get(instrument_id)
        return line.held.shares if line else 0

    def begin(self, session: date, actions: pl.DataFrame | None = None) -> None:
        """Begin a session, later than the one before: what is held is split and paid by the actions up to it.

        actions: as for `ledger`; those up to the session before are not booked again. `ValueError` where the session is
        not later.
        """
        if self.session is not None and session <= self.session:
            raise ValueError(f"{session} does not come after {self.session}")
        before, self.session = self.session, session
        self._seen.clear()
        for name, line in list(self._lines.items()):
            line.after = None
            if not line.held.shares:
                del self._lines[name]
        due = pl.col("session") <= session if before is None else pl.col("session").is_between(before, session, "right")
        rows = [] if actions is None else self._booked(usable_actions(actions).filter(due))
        late = [row for row in rows if row[0] < session]
        for row in late:
            self._act(*row)
        self._cash_before, self._flow = self._cash, _Flow()
        for row in rows[len(late) :]:
            self._act(*row)

    def _booked(self, actions: pl.DataFrame) -> list[tuple[date, str, str, float]]:
        mine = actions.filter(pl.col("instrument_id").is_in(list(self._lines.keys() | self._marks.keys())))
        splits_first = pl.col("kind") != "split"
        return (
            mine.sort("session", splits_first, "kind", "value")
            .select("session", "instrument_id", "kind", "value")
            .rows()
        )

    def _act(self, session: date, name: str, kind: str, value: float) -> None:
        mark = self._marks.get(name)
        if name in self._lines:
            price = None if mark is None else micros(mark)
            code = SPLIT if kind == "split" else PAYMENT
            self._book(step(self._lines[name].held, code, None, price, None, value))
        if kind == "split" and mark is not None:
            self._marks[name] = mark / value

    def take(self, fills: pl.DataFrame, orders: pl.DataFrame) -> None:
        """Take in new fills of the session; one that was taken in counts once.

        fills: rows of the table `fills`; orders: [order_id, role, parent_id] of them. Raises `LateFill` where a fill
        comes before one of its instrument that is in already (by moment; exits, entries, exits of entries of that very
        moment; `fill_id`), and `ValueError` for what is no fill of the session; nothing is taken in then.
        """
        new = checked(fills)
        new = new.filter(pl.Series([fill_id not in self._seen for fill_id in new["fill_id"]], dtype=pl.Boolean))
        if new.is_empty():
            return
        if new["session"].unique().to_list() != [self.session]:
            raise ValueError(f"fills of another session than {self.session}")
        lines = [line for name in new["instrument_id"].unique() if (line := self._lines.get(name)) is not None]
        before = pl.DataFrame(
            [(order, line.after[0]) for line in lines if line.after for order in line.filled],
            schema={"order_id": pl.String(), "at": new.schema["at"]},
            orient="row",
        )
        rows = ranked(new, orders, before).sort("at", "rank", "fill_id").select(_FILL).rows()
        for name, _, *place, _, _, _, _, _ in rows:
            if name in self._lines and self._lines[name].comes_late(*place):
                raise LateFill(f"{place[2]} comes before a fill of {name} that is in the ledger: derive it afresh")
        for name, ticker, at, rank, fill_id, order_id, parent_id, side, quantity, price, fee in rows:
            line = self._lines.setdefault(name, _Line(ticker))
            line.ticker = ticker
            line.taken(at, rank, fill_id, order_id, parent_id)
            self._seen.add(fill_id)
            shares = quantity if side == "buy" else -quantity
            self._book(step(line.held, FILL, shares, micros(price), micros(fee), None))

    def mark(self, prices: Mapping[str, float] | Iterable[tuple[str, float]]) -> None:
        """Take in last prices by instrument, as traded; one that is no price changes nothing."""
        told = prices.items() if isinstance(prices, Mapping) else prices
        self._marks.update((name, price) for name, price in told if 0 < price < float("inf"))

    def positions(self) -> pl.DataFrame:
        """What is held now: the columns of the table without `book`, by instrument."""
        rows = [
            (self.session, name, line.ticker, line.held.shares, line.held.cost, self._marks.get(name))
            for name, line in sorted(self._lines.items())
            if line.held.shares
        ]
        schema = {
            "session": pl.Date(),
            "instrument_id": pl.String(),
            "ticker": pl.String(),
            "shares": pl.Int64(),
            "cost": pl.Int64(),
            "price": pl.Float64(),
        }
        return valued(pl.DataFrame(rows, schema=schema, orient="row"))

    def account(self) -> dict[str, float]:
        """The account now: the columns of the table without `book` and session."""
        value = unrealised = 0
        for name, line in self._lines.items():
            held, mark = line.held, self._marks.get(name)
            worth = held.cost if mark is None else held.shares * micros(mark)
            value, unrealised = value + worth, unrealised + worth - held.cost
        flow = self._flow
        money = {
            "cash_before": self._cash_before,
            "cash": self._cash,
            "market_value": value,
            "equity": self._cash + value,
            "realised": flow.realised,
            "unrealised": unrealised,
            "fees": flow.fee,
            "income": flow.income,
        }
        return {name: amount / MICROS for name, amount in money.items()}

    def _book(self, moves: Iterable[Move]) -> None:
        for move in moves:
            self._cash += move.money + move.income - move.fee
            self._flow.realised += move.realised
            self._flow.fee += move.fee
            self._flow.income += move.income
