"""How many shares of each wished entry the limits allow: one function for the live loop and for backtests.

What belongs here: sizes, limits, and which limit said no. What does not: which entries are wished, where their stops
lie (`levels.py`), placing orders.

*Size*: risk_per_trade x equity x factor of the environment x factor of the edges, divided by the distance from entry to
stop, and no more than the largest position, the wished share, the buying power, and what the day, the sector and the
open heat have left. A limit that has something left scales an entry down to it; an entry is refused where that is less
than a lot or than the smallest position. First come, first served: what an entry takes, those after it lack.

*Never flattering*: the stop is rounded to a tick away from the entry, the target towards it, and reward-to-risk is
judged on what comes out. A stop nearer than `least_stop_distance` counts as that far away; it is not refused for it, so
that a farther stop never means more shares. A held name's risk below 0, a stop that locks in a profit, counts as 0.
Names without a sector count as one sector.

*Exact*: all sums are of whole millionths of the currency, so that no limit is passed by rounding; the limits themselves
are rounded down.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from trading_pipeline.research.money import MICROS, Money, from_micros, micros, to_micros
from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.risk.account import BALANCES, HELD, Account
from trading_pipeline.research.risk.allocation import SHARED, Allocation, Left, Wishes, allocate
from trading_pipeline.research.risk.levels import on_tick
from trading_pipeline.research.risk.limits import Limits

HIGHEST_PRICE = 1e8
"""Above it a price is none, and a money column in the wrong place."""

_MOST = 1e12
"""Money above a million millions counts as that much: 64 bits hold it in millionths."""
_WORDS = {
    "risk_per_trade": "The risk of one trade",
    "largest_position": "The largest position",
    "wished_size": "The wished size",
    "buying_power": "The buying power",
    "risk_per_day": "The risk of the day",
    "risk_per_sector": "The risk of its sector",
    "open_heat": "The open heat",
}


def allowed_share(wished: pl.Expr, limits: Limits, *, with_stop: bool) -> pl.Expr:
    """The wished share of equity, no larger than the largest position that is allowed with (without) a protective stop.

    A missing wish is the largest. Every sized entry passes through here, and so does what the dip desk recommends.
    """
    position = limits.position
    return pl.min_horizontal(wished, position.largest_share if with_stop else position.largest_share_without_stop)


def sized(candidates: pl.DataFrame, account: Account, limits: Limits, by: Sequence[str] = ()) -> pl.DataFrame:
    """`candidates`, in their order, with what may be bought or sold short.

    candidates: one row an entry, the most wanted first: [instrument_id, side (long or short), entry, stop], and where
        there are any [*by, sector, target, environment (A to D), edges (independent edges that agree), strength (0 to
        1), size (wished share of equity)]. Prices as traded, in the market's currency. Null may be: sector, target,
        environment (as bad as weak), edges (one), size (no wish). Strength must be above 0, and does not scale: a
        signal is strong or weak by the environment already, which would count twice.
    account: see `Account`. by: columns that tell accounts or sessions apart; each group is sized for itself.

    Beside the columns of `candidates`: stop and target on ticks; quantity (0 where refused); risk, money lost where the
    stop holds, `least_stop_distance` at least; position_value; reward_to_risk, null without a target; limited_by, the
    shared limit that made an entry smaller than its own size, null where none did; refused_by, null where taken, else
    inputs, account, short_selling, held, environment, reward_to_risk, risk_per_trade, largest_position, wished_size,
    buying_power, risk_per_day, risk_per_sector or open_heat, the first that speaks against it; refused_because, one
    line.

    Raises `ValueError` where a column is missing or an account is there twice.
    """
    by = list(by)
    _require(candidates, [*by, "instrument_id", "side", "entry", "stop"], "candidates")
    _require(account.balances, [*by, *BALANCES], "balances")
    _require(account.held, [*by, *HELD], "held")
    entries = _with_levels(_entries(candidates, account, by), limits)
    entries = entries.with_columns(**_own_limits(limits)).with_columns(**_refusals(limits))
    entries = _with_quantities(entries, limits)
    refused = pl.col("refused_by").is_not_null()
    return candidates.with_columns(
        entries.select(
            pl.coalesce(from_micros(pl.col("stop_at")), "stop").alias("stop"),
            pl.coalesce(from_micros(pl.col("target_at")), "target").alias("target"),
            "quantity",
            risk=from_micros(pl.col("quantity") * pl.col("unit_risk").fill_null(0)),
            position_value=from_micros(pl.col("quantity") * pl.col("entry_at").fill_null(0)),
            reward_to_risk="reward_to_risk",
            limited_by=pl.when(~refused).then("limited_by"),
            refused_by="refused_by",
            refused_because="refused_because",
        )
    )


def _require(frame: pl.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lack {', '.join(missing)}")


def _entries(candidates: pl.DataFrame, account: Account, by: list[str]) -> pl.DataFrame:
    """One row a candidate: what it says, the number of its account (null: none) and that account's money."""

    def said(name: str, dtype: type[pl.DataType], otherwise: float | None = None) -> pl.Expr:
        if name not in candidates.columns:
            return pl.lit(otherwise, dtype).alias(name)
        return pl.col(name).cast(dtype, strict=False)

    key = [pl.col(name).alias(f"by_{place}") for place, name in enumerate(by)] or [pl.lit(0).alias("by_0")]
    keys = [f"by_{place}" for place in range(len(key))]
    money = [pl.col(name).cast(pl.Float64, strict=False) for name in BALANCES]
    balances = account.balances.select(*key, *money).with_row_index("group")
    if balances.select(keys).is_duplicated().any():
        raise ValueError(f"there are two balances of one {', '.join(by) or 'account'}")
    held = account.held.select(*key, *HELD).with_columns(pl.col("risk").cast(pl.Float64, strict=False))
    held = held.join(balances.select("group", *keys), on=keys, nulls_equal=True)
    risk = pl.col("risk").clip(0, _MOST)
    known = pl.col("risk").is_finite().fill_null(value=False) & pl.col("instrument_id").is_not_null()
    heat = held.group_by("group").agg(heat=to_micros(risk).sum(), held_known=known.all())
    sectors = held.group_by("group", "sector").agg(sector_risk=to_micros(risk).sum())
    names = held.select("group", "instrument_id", is_held=pl.lit(value=True)).unique()
    return (
        candidates.select(
            *key,
            *(said(name, pl.String) for name in ("instrument_id", "side", "sector", "environment")),
            *(said(name, pl.Float64) for name in ("entry", "stop", "target", "size")),
            said("edges", pl.Float64, 1.0).fill_null(1.0),
            said("strength", pl.Float64, 1.0),
        )
        .join(balances, on=keys, how="left", maintain_order="left", nulls_equal=True)
        .join(heat, on="group", how="left", maintain_order="left")
        .join(sectors, on=["group", "sector"], how="left", maintain_order="left", nulls_equal=True)
        .join(names, on=["group", "instrument_id"], how="left", maintain_order="left")
        .with_columns(
            pl.col("heat", "sector_risk").fill_null(0),
            pl.col("held_known").fill_null(value=True),
            pl.col("is_held").fill_null(value=False),
        )
    )


def _with_levels(entries: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """`entries` with entry_at, stop_at and target_at in millionths, the latter two on ticks; null where unusable.

    Also unit_risk, what one share risks, null where the stop is none; and reward, what it may earn, in millionths.
    """

    def price(name: str) -> pl.Expr:
        usable = (pl.col(name) > 0) & (pl.col(name) <= HIGHEST_PRICE)
        return pl.when(usable).then(to_micros(pl.col(name))).alias(f"{name}_at")

    entries = entries.with_columns(price("entry"), price("stop"), price("target"))
    short = (entries["side"] == "short").fill_null(value=False).to_numpy()
    rounded = {
        name: pl.when(pl.col(name).is_not_null()).then(
            pl.Series(name, on_tick(entries[name].fill_null(0).to_numpy(), short, limits.market.ticks))
        )
        for name in ("stop_at", "target_at")
    }
    entries = entries.with_columns(**rounded)
    way = pl.when(pl.col("side") == "long").then(1).when(pl.col("side") == "short").then(-1)
    distance = (pl.col("entry_at") - pl.col("stop_at")) * way
    least = (pl.col("entry_at") * limits.position.least_stop_distance).ceil().cast(pl.Int64)
    protects = (distance > 0) & (pl.col("stop_at") > 0)
    unit_risk = pl.when(protects).then(pl.max_horizontal(distance, least))
    reward = (pl.col("target_at") - pl.col("entry_at")) * way
    return entries.with_columns(unit_risk=unit_risk, reward=reward).with_columns(
        reward_to_risk=pl.col("reward") / pl.col("unit_risk")
    )


def _own_limits(limits: Limits) -> dict[str, pl.Expr]:
    """What an entry may have by itself: factor of its risk, money at risk, value, shares, and the fewest shares."""
    factors, lot = limits.environment, limits.market.lot
    graded = pl.lit(None, pl.Float64)
    for side in ("long", "short"):
        for grade in "ABCD":
            this = (pl.col("side") == side) & (pl.col("environment") == grade)
            graded = pl.when(this).then(getattr(factors, f"{side}_{grade.lower()}")).otherwise(graded)
    by_environment = pl.when(pl.col("environment").is_null()).then(factors.unknown).otherwise(graded)
    by_edges = pl.when(pl.col("edges") >= 3).then(limits.edges.three).when(pl.col("edges") >= 2)
    factor = by_environment * by_edges.then(limits.edges.two).otherwise(limits.edges.one)
    equity = pl.col("equity").clip(0, _MOST) * MICROS
    share = allowed_share(pl.col("size"), limits, with_stop=True)
    most_risk = (equity * limits.budget.risk_per_trade * factor).floor()
    most_value = (equity * share).floor()
    parcels = -(-micros(limits.market.smallest_value) // (pl.col("entry_at") * lot))
    return {
        "factor": factor,
        "share": share,
        "most_risk": most_risk.cast(pl.Int64, strict=False),
        "most_value": most_value.cast(pl.Int64, strict=False),
        "least": pl.max_horizontal(parcels, 1) * lot,
    }


def _refusals(limits: Limits) -> dict[str, pl.Expr]:
    """refused_by and refused_because of what is refused whatever the other entries are; null where nothing is."""
    long, name = pl.col("side") == "long", pl.col("instrument_id")
    beyond = pl.when(long).then(pl.lit("below")).otherwise(pl.lit("above"))
    ahead = pl.when(long).then(pl.lit("above")).otherwise(pl.lit("below"))
    least = limits.position.least_reward_to_risk

    def stated(column: str, what: str) -> pl.Expr:
        return pl.format(what, pl.col(column).cast(pl.String).fill_null("missing"))

    def positive(column: str) -> pl.Expr:
        return (pl.col(column) > 0) & pl.col(column).is_finite()

    def given(column: str) -> pl.Expr:
        return pl.col(column).is_not_null()

    checks: list[tuple[str, pl.Expr, pl.Expr]] = [
        ("inputs", name.is_not_null(), pl.lit("It has no instrument.")),
        ("inputs", pl.col("side").is_in(["long", "short"]), stated("side", "The side is neither long nor short: {}.")),
        ("inputs", given("entry_at"), stated("entry", "The entry is no price: {}.")),
        ("inputs", given("stop_at"), stated("stop", "The stop is no price: {}.")),
        ("inputs", ~given("target") | given("target_at"), stated("target", "The target is no price: {}.")),
        ("inputs", given("unit_risk"), pl.format("The stop {} is not {} the entry {}.", "stop", beyond, "entry")),
        (
            "inputs",
            ~given("target") | (pl.col("reward") > 0),
            pl.format("The target {} is not {} the entry {}, on ticks.", "target", ahead, "entry"),
        ),
        (
            "inputs",
            given("factor"),
            stated("environment", "The environment is none of A to D: {}."),
        ),
        ("inputs", positive("edges") & (pl.col("edges") >= 1), stated("edges", "No edge speaks for it: {}.")),
        (
            "inputs",
            positive("strength") & (pl.col("strength") <= 1),
            stated("strength", "The strength is not above 0 and up to 1: {}."),
        ),
        ("inputs", ~given("size") | positive("size"), stated("size", "The wished size is no share of equity: {}.")),
        ("account", given("group"), pl.lit("There is no account for it.")),
        ("account", positive("equity"), stated("equity", "There is no equity to risk: {}.")),
        ("account", pl.col("buying_power").is_finite(), pl.lit("The buying power is not known.")),
        ("account", pl.col("day_risk").is_finite(), pl.lit("What the day has risked so far is not known.")),
        ("account", pl.col("held_known"), pl.lit("What a position risks that is held is not known.")),
        ("short_selling", long | limits.market.short_selling, pl.lit("Short selling is not allowed.")),
        ("held", ~pl.col("is_held"), pl.lit("The name is held, or an entry is open.")),
        (
            "environment",
            pl.col("factor") > 0,
            stated("environment", "Nothing is risked on this side in the environment {}."),
        ),
        (
            "reward_to_risk",
            ~given("target") | (pl.col("reward_to_risk").round(9) >= least),
            pl.format("Reward to risk is {} on ticks, less than {}.", pl.col("reward_to_risk").round(2), pl.lit(least)),
        ),
    ]
    failed = [(name, ~passed.fill_null(value=False), words) for name, passed, words in checks]
    return {
        "refused_by": pl.coalesce(pl.when(fails).then(pl.lit(name)) for name, fails, _ in failed),
        "refused_because": pl.coalesce(pl.when(fails).then(words) for _, fails, words in failed),
    }


def _with_quantities(entries: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    """`entries` with quantity, limited_by, and the refusals for want of shares."""
    asked = entries.with_row_index("row").filter(pl.col("refused_by").is_null())
    allocation = _allocation(asked, limits)
    by_risk = pl.col("most_risk") // pl.col("unit_risk") <= pl.col("most_value") // pl.col("entry_at")
    by_wish = pl.col("size") < limits.position.largest_share
    shared = pl.Series("shared", allocation.limit).replace_strict(dict(enumerate(SHARED)), default=None)
    tightest = pl.coalesce(
        shared,
        pl.when(by_risk)
        .then(pl.lit("risk_per_trade"))
        .when(by_wish)
        .then(pl.lit("wished_size"))
        .otherwise(pl.lit("largest_position")),
    )
    own_money = pl.when(by_risk).then("most_risk").otherwise("most_value")
    told = asked.select(
        "row",
        "least",
        pl.Series("quantity", allocation.quantity),
        pl.Series("possible", allocation.possible),
        pl.Series("was_taken", allocation.taken),
        limited_by=shared,
        tightest=tightest,
        money=pl.when(shared.is_not_null()).then(pl.Series(allocation.left)).otherwise(own_money),
    ).with_columns(nothing=pl.col("quantity") == 0)
    words = pl.format(
        "{} leaves {}: {} shares, and {} are the fewest.",
        pl.col("tightest").replace_strict(_WORDS),
        from_micros(pl.col("money")).round(2),
        "possible",
        "least",
    )
    told = told.select(
        pl.col("row"),
        pl.col("quantity"),
        pl.col("limited_by"),
        short_of=pl.when("was_taken").then(pl.lit("held")).when("nothing").then("tightest"),
        words=pl.when("was_taken").then(pl.lit("The name is taken by an entry before it.")).when("nothing").then(words),
    )
    joined = entries.with_row_index("row").join(told, on="row", how="left", maintain_order="left")
    return joined.with_columns(
        pl.col("quantity").fill_null(0),
        refused_by=pl.coalesce("refused_by", "short_of"),
        refused_because=pl.coalesce("refused_because", "words"),
    )


def _allocation(asked: pl.DataFrame, limits: Limits) -> Allocation:
    """What each entry gets; `asked`: entries that nothing speaks against but want of money."""

    def whole(name: str) -> Integers:
        return np.asarray(asked[name].cast(pl.Int64).to_numpy())

    equity = np.clip(asked["equity"].to_numpy(), 0, _MOST) * MICROS
    power = np.clip(asked["buying_power"].to_numpy(), 0, _MOST) * MICROS
    day_risk = np.ceil(np.clip(asked["day_risk"].to_numpy(), 0, _MOST) * MICROS).astype(np.int64)
    group = whole("group")
    sector, name = (_codes(group, asked[column]) for column in ("sector", "instrument_id"))

    def of(code: Integers, amount: Floats, used: Money | int) -> Money:
        """What there is of each code; the rows of one code all say the same."""
        left = np.zeros(int(code.max(initial=-1)) + 1, dtype=np.int64)
        left[code] = np.floor(amount).astype(np.int64) - used
        return left

    budget = limits.budget
    left = Left(
        buying_power=of(group, power * budget.buying_power_used, 0),
        risk_per_day=of(group, equity * budget.risk_per_day, day_risk),
        risk_per_sector=of(sector, equity * budget.risk_per_sector, whole("sector_risk")),
        open_heat=of(group, equity * budget.open_heat, whole("heat")),
        taken=np.zeros(int(name.max(initial=-1)) + 1, dtype=bool),
    )
    risk, value = whole("unit_risk"), whole("entry_at")
    own = np.minimum(whole("most_risk") // risk, whole("most_value") // value)
    return allocate(Wishes(group, sector, name, own, whole("least"), risk, value), left, limits.market.lot)


def _codes(group: Integers, text: pl.Series) -> Integers:
    """0, 1, 2 … for the pairs of group and text that there are; null is a text of its own."""
    own = text.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    pairs = group * (int(own.max(initial=0)) + 1) + own
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)
