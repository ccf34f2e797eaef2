"""How many shares each entry gets: never over a limit, in order of priority, and refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.risk import Account, load_limits, sized

US = load_limits()
SCHEMA = pl.Schema(
    {
        "instrument_id": pl.String(),
        "sector": pl.String(),
        "side": pl.String(),
        "entry": pl.Float64(),
        "stop": pl.Float64(),
        "target": pl.Float64(),
        "environment": pl.String(),
        "edges": pl.Int64(),
        "strength": pl.Float64(),
        "size": pl.Float64(),
    }
)
WISH = {
    "instrument_id": "us:A", "sector": "Energy", "side": "long", "entry": 100.0, "stop": 95.0, "target": 110.0,
    "environment": "A", "edges": 3, "strength": 0.8, "size": None,
}  # fmt: skip


def wishes(*changes):
    return pl.DataFrame([WISH | change for change in changes], schema=SCHEMA)


def one(account=None, limits=US, **change):
    return sized(wishes(change), account or Account.of(100_000.0), limits).row(0, named=True)


def changed(group, **values):
    return replace(US, **{group: replace(getattr(US, group), **values)})


# --- what an entry gets -----------------------------------------------------------------------------------------------


def test_the_size_is_the_risk_over_the_distance_to_the_stop():
    """Half a per cent of 100,000 is 500; five to lose a share makes 100 shares."""
    row = one()
    assert (row["quantity"], row["risk"], row["position_value"]) == (100, 500.0, 10_000.0)
    assert (row["reward_to_risk"], row["limited_by"], row["refused_by"], row["refused_because"]) == (2.0, *[None] * 3)


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        ({"environment": "B"}, 85),
        ({"environment": "C"}, 50),
        ({"environment": "D"}, 25),
        ({"environment": None}, 50),
        ({"edges": 1}, 50),
        ({"edges": 2}, 75),
        ({"edges": 7}, 100),
        ({"edges": None}, 50),
        ({"environment": "C", "edges": 2}, 37),
        ({"side": "short", "stop": 105.0, "target": 90.0}, 25),
        ({"side": "short", "stop": 105.0, "target": 90.0, "environment": "D"}, 100),
        ({"strength": 0.01}, 100),
        ({"target": None}, 100),
        ({"size": 0.05}, 50),
        ({"size": 0.5}, 100),
        ({"stop": 99.0}, 200),
        ({"stop": 99.0, "size": 0.3}, 200),
    ],
)
def test_environment_edges_and_size_scale_it(change, quantity):
    assert one(**change)["quantity"] == quantity


def test_a_stop_is_rounded_away_and_a_target_towards_the_entry():
    row = one(entry=50.0, stop=48.996, target=52.019)
    assert (row["stop"], row["target"], row["reward_to_risk"]) == (48.99, 52.01, pytest.approx(2.01 / 1.01))
    row = one(side="short", entry=50.0, stop=51.004, target=47.981, environment="D")
    assert (row["stop"], row["target"], row["reward_to_risk"]) == (51.01, 47.99, pytest.approx(2.01 / 1.01))
    row = one(entry=0.95, stop=0.90005, target=None, environment="A")
    assert row["stop"] == 0.9
    row = one(limits=load_limits("asx"), entry=1.5, stop=1.4349, target=None)
    assert row["stop"] == 1.43


def test_a_stop_that_is_too_near_counts_as_farther_away():
    limits = changed("position", largest_share=1.0, least_stop_distance=0.01)
    near, nearer = one(limits=limits, stop=99.0, target=None), one(limits=limits, stop=99.99, target=None)
    assert near["quantity"] == nearer["quantity"] == 500
    assert nearer["stop"] == 99.99
    assert nearer["risk"] == 500.0
    assert one(limits=limits, stop=99.99, target=100.5)["refused_by"] == "reward_to_risk"


def test_shares_come_in_lots():
    limits = changed("market", lot=30)
    assert one(limits=limits)["quantity"] == 90
    row = one(Account.of(20_000.0), limits=limits)
    assert (row["quantity"], row["refused_by"]) == (0, "risk_per_trade")
    assert row["refused_because"] == "The risk of one trade leaves 100.0: 0 shares, and 30 are the fewest."


def test_the_smallest_position_is_worth_something():
    asx = load_limits("asx")
    change = {"entry": 1.0, "stop": 0.9, "target": None, "size": 0.0049}
    row = one(limits=asx, **change)
    assert (row["quantity"], row["refused_by"]) == (0, "wished_size")
    assert row["refused_because"] == "The wished size leaves 490.0: 490 shares, and 500 are the fewest."
    assert one(limits=asx, **change | {"size": 0.005})["quantity"] == 500


# --- what the entries share -------------------------------------------------------------------------------------------


def names(count, **change):
    return wishes(*({"instrument_id": f"us:{number}", **change} for number in range(count)))


def test_the_first_come_first_served_and_the_last_is_scaled_to_what_is_left():
    found = sized(names(4), Account.of(100_000.0, day_risk=950.0), US)
    assert found["quantity"].to_list() == [100, 100, 0, 0]
    assert found["refused_by"].to_list() == [None, None, "risk_per_sector", "risk_per_sector"]
    sectors = names(5).with_columns(sector=pl.col("instrument_id"))
    found = sized(sectors, Account.of(100_000.0, day_risk=950.0), US)
    assert found["quantity"].to_list() == [100, 100, 10, 0, 0]
    assert found["limited_by"].to_list() == [None, None, "risk_per_day", None, None]
    assert found["refused_by"].to_list() == [None, None, None, "risk_per_day", "risk_per_day"]
    assert found["refused_because"][3] == "The risk of the day leaves 0.0: 0 shares, and 1 are the fewest."


def test_what_is_held_counts():
    held = [
        {"instrument_id": "us:X", "sector": "Energy", "risk": 900.0},
        {"instrument_id": "us:Y", "sector": None, "risk": 1900.0},
        {"instrument_id": "us:Z", "sector": "Utilities", "risk": -5000.0},
    ]
    account = Account.of(100_000.0, held=held)
    assert (one(account)["quantity"], one(account)["limited_by"]) == (20, "risk_per_sector")
    other = one(account, sector="Health Care")
    assert (other["quantity"], other["limited_by"]) == (40, "open_heat")
    unknown = one(account, sector=None)
    assert (unknown["quantity"], unknown["refused_by"]) == (0, "risk_per_sector"), "names without a sector are one"
    assert one(account, instrument_id="us:X")["refused_by"] == "held"


def test_buying_power_is_never_spent_whole():
    row = one(Account.of(100_000.0, buying_power=1_000.0))
    assert (row["quantity"], row["limited_by"]) == (9, "buying_power")
    row = one(Account.of(100_000.0, buying_power=-50.0))
    assert (row["quantity"], row["refused_by"]) == (0, "buying_power")


def test_a_name_is_entered_once():
    found = sized(wishes({}, {}, {"instrument_id": "us:B"}), Account.of(100_000.0), US)
    assert found["refused_by"].to_list() == [None, "held", None]
    assert found["quantity"].to_list() == [100, 0, 100]


def test_an_entry_that_was_refused_takes_nothing():
    found = sized(wishes({"stop": 101.0}, {}), Account.of(100_000.0), US)
    assert found["quantity"].to_list() == [0, 100]


# --- what is refused --------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
UNUSABLE = [
    *({name: value} for name in ("entry", "stop") for value in (None, NAN, INF, -INF, 0.0, -1.0, 1e300)),
    *({name: value} for name in ("target", "size") for value in (NAN, INF, 0.0, -1.0)),
    *({"strength": value} for value in (None, NAN, 0.0, -1.0, 1.1)),
    *({"edges": value} for value in (0, -1)),
    *({"side": value} for value in (None, "", "buy")),
    *({"environment": value} for value in ("", "E", "a")),
    {"instrument_id": None},
    {"stop": 100.0}, {"stop": 101.0}, {"stop": 0.00001}, {"target": 100.0}, {"target": 99.0}, {"target": 100.004},
    {"side": "short", "entry": 1e-7, "stop": 1.0, "target": None},
    {"side": "short", "stop": 99.0, "target": 90.0}, {"side": "short", "stop": 105.0, "target": 101.0},
]  # fmt: skip


@pytest.mark.parametrize("change", UNUSABLE, ids=str)
def test_what_is_no_entry_is_refused_with_a_reason(change):
    row = one(**change)
    assert row["refused_by"] == "inputs"
    assert row["refused_because"].endswith(".")
    assert (row["quantity"], row["risk"], row["position_value"], row["limited_by"]) == (0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (Account.of(0.0), "no equity"),
        (Account.of(-1.0), "no equity"),
        (Account.of(NAN), "no equity"),
        (Account.of(INF), "no equity"),
        (Account.of(1e5, NAN), "buying power is not known"),
        (Account.of(1e5, day_risk=NAN), "the day has risked"),
        (Account.of(1e5, held=[{"instrument_id": "us:X", "sector": None, "risk": None}]), "a position risks"),
        (Account.of(1e5, held=[{"instrument_id": "us:X", "sector": None, "risk": NAN}]), "a position risks"),
    ],
)
def test_an_account_that_is_not_known_risks_nothing(account, said):
    row = one(account)
    assert (row["quantity"], row["refused_by"]) == (0, "account")
    assert said in row["refused_because"]


def test_a_missing_number_is_not_one_that_is_none():
    found = sized(wishes({"target": None}, {"target": NAN}, {"stop": None}, {"stop": NAN}), Account.of(1e5), US)
    assert found["quantity"].to_list() == [100, 0, 0, 0]
    assert found["refused_because"].to_list() == [
        None, "The target is no price: NaN.", "The stop is no price: missing.", "The stop is no price: NaN."
    ]  # fmt: skip
    assert found["target"].is_null().to_list() == [True, False, False, False]
    assert found["stop"].is_null().to_list() == [False, False, True, False]


def test_columns_of_the_candidates_keep_their_place_and_the_sized_ones_replace_theirs():
    table = wishes({}).select("instrument_id", "stop", pl.lit(7).alias("quantity"), "side", "entry", note=pl.lit("x"))
    found = sized(table, Account.of(1e5), US)
    assert found.columns[: table.width] == table.columns
    assert (found["quantity"][0], found["note"][0]) == (25, "x")


def test_the_other_refusals():
    assert one(target=106.2)["refused_by"] == "reward_to_risk"
    assert one(target=106.2)["refused_because"] == "Reward to risk is 1.24 on ticks, less than 1.25."
    assert one(target=106.25)["refused_by"] is None
    short = {"side": "short", "stop": 105.0, "target": 90.0}
    assert one(limits=load_limits("asx"), **short)["refused_by"] == "short_selling"
    assert one(limits=changed("environment", long_d=0.0), environment="D")["refused_by"] == "environment"


def test_columns_that_may_be_absent():
    found = sized(wishes({}).select("instrument_id", "side", "entry", "stop"), Account.of(100_000.0), US)
    assert found.row(0, named=True) == {
        "instrument_id": "us:A", "side": "long", "entry": 100.0, "stop": 95.0, "target": None, "quantity": 25,
        "risk": 125.0, "position_value": 2_500.0, "reward_to_risk": None, "limited_by": None, "refused_by": None,
        "refused_because": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="candidates lack stop"):
        sized(wishes({}).drop("stop"), Account.of(1.0), US)


def test_no_entries_are_no_rows():
    schema = sized(wishes({}), Account.of(1e5), US).schema
    assert sized(wishes({}).clear(), Account.of(1e5), US).schema == schema
    assert sized(wishes({"side": None}), Account.of(1e5), US).schema == schema


# --- properties -------------------------------------------------------------------------------------------------------

CENTS = st.integers(100, 50_000).map(lambda cents: cents / 100)


@st.composite
def entries(draw):
    long = draw(st.booleans())
    entry = draw(CENTS)
    distance = entry * draw(st.floats(0.0001, 0.2)) * (1 if long else -1)
    target = draw(st.one_of(st.none(), st.floats(1.0, 4.0).map(lambda times: entry + times * distance)))
    return {
        "instrument_id": draw(st.sampled_from([f"us:{letter}" for letter in "ABCDEFGH"])),
        "sector": draw(st.sampled_from(["Energy", "Utilities", None])),
        "side": "long" if long else "short",
        "entry": entry,
        "stop": entry - distance,
        "target": target,
        "environment": draw(st.sampled_from(["A", "B", "C", "D", None])),
        "edges": draw(st.integers(1, 4)),
        "strength": draw(st.floats(0.1, 1.0)),
        "size": draw(st.one_of(st.none(), st.floats(0.01, 0.4))),
    }


@st.composite
def accounts(draw):
    equity = draw(st.floats(1_000, 1_000_000))
    held = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "instrument_id": st.sampled_from(["us:A", "us:B", "us:X", "us:Y"]),
                    "sector": st.sampled_from(["Energy", "Health Care", None]),
                    "risk": st.floats(-0.01, 0.02).map(lambda share: share * equity),
                }
            ),
            max_size=3,
        )
    )
    power = equity * draw(st.floats(0, 2))
    return Account.of(equity, power, day_risk=equity * draw(st.floats(0, 0.03)), held=held)


@st.composite
def any_limits(draw):
    share = st.floats(0.0005, 0.05)
    return replace(
        US,
        budget=replace(
            US.budget,
            **{name: draw(share) for name in ("risk_per_trade", "risk_per_day", "risk_per_sector", "open_heat")},
        ),
        position=replace(US.position, largest_share=draw(st.floats(0.01, 1.0))),
        market=replace(US.market, lot=draw(st.sampled_from([1, 1, 10]))),
    )


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def exact(value):
    return Fraction(Decimal(repr(value)))


@QUICK
@given(wished=st.lists(entries(), min_size=1, max_size=12), account=accounts(), limits=any_limits())
def test_no_sequence_of_entries_is_ever_over_any_limit(wished, account, limits):
    found = sized(pl.DataFrame(wished, schema=SCHEMA), account, limits)
    equity, power, day = (exact(account.balances[name][0]) for name in ("equity", "buying_power", "day_risk"))
    heat = Fraction(0)
    sectors: dict[str | None, Fraction] = {}
    for row in account.held.iter_rows(named=True):
        risk = max(exact(row["risk"]), Fraction(0))
        heat += risk
        sectors[row["sector"]] = sectors.get(row["sector"], Fraction(0)) + risk
    before = {"day": day, "heat": heat, **sectors}
    tolerance = Fraction(4, 10**6)
    spent, budget = Fraction(0), limits.budget
    taken = set(account.held["instrument_id"])
    for row in found.iter_rows(named=True):
        assert (row["quantity"] == 0) == (row["refused_by"] is not None) == (row["refused_because"] is not None)
        if not row["quantity"]:
            continue
        assert row["instrument_id"] not in taken
        taken.add(row["instrument_id"])
        distance = abs(exact(row["entry"]) - exact(row["stop"]))
        risk, value = row["quantity"] * distance, row["quantity"] * exact(row["entry"])
        assert exact(row["risk"]) >= risk - tolerance
        assert row["quantity"] % limits.market.lot == 0
        assert value >= exact(limits.market.smallest_value)
        assert risk <= equity * exact(budget.risk_per_trade) + tolerance
        assert value <= equity * exact(limits.position.largest_share) + tolerance
        assert row["size"] is None or value <= equity * exact(row["size"]) + tolerance
        assert row["target"] is None or (
            abs(exact(row["target"]) - exact(row["entry"])) >= exact(limits.position.least_reward_to_risk) * distance
        )
        day, heat, spent = day + risk, heat + risk, spent + value
        sectors[row["sector"]] = sectors.get(row["sector"], Fraction(0)) + risk
        assert day <= max(equity * exact(budget.risk_per_day), before["day"]) + tolerance
        assert heat <= max(equity * exact(budget.open_heat), before["heat"]) + tolerance
        assert spent <= power * exact(budget.buying_power_used) + tolerance
        least = before.get(row["sector"], Fraction(0))
        assert sectors[row["sector"]] <= max(equity * exact(budget.risk_per_sector), least) + tolerance


@settings(QUICK, max_examples=25)
@given(wished=st.lists(entries(), min_size=1, max_size=8), account=accounts(), limits=any_limits())
def test_a_sequence_is_the_same_as_one_after_the_other(wished, account, limits):
    """Priority is the order of the rows: each is decided by the account that those before it left behind."""
    together = sized(pl.DataFrame(wished, schema=SCHEMA), account, limits)
    for place, wish in enumerate(wished):
        single = sized(pl.DataFrame([wish], schema=SCHEMA), account, limits)
        assert single["quantity"][0] == together["quantity"][place]
        assert (single["refused_by"][0] is None) == (together["refused_by"][place] is None)
        row = single.row(0, named=True)
        if row["quantity"]:
            power = account.balances["buying_power"][0] - row["position_value"] / limits.budget.buying_power_used
            more = pl.DataFrame(
                [{name: row[name] for name in ("instrument_id", "sector", "risk")}], account.held.schema
            )
            account = Account(
                account.balances.with_columns(
                    buying_power=pl.lit(power + 1e-7), day_risk=pl.col("day_risk") + row["risk"]
                ),
                account.held.vstack(more),
            )


@QUICK
@given(wish=entries(), account=accounts(), limits=any_limits(), times=st.floats(1.0, 5.0))
def test_more_equity_never_means_fewer_shares(wish, account, limits, times):
    table = pl.DataFrame([wish], schema=SCHEMA)
    richer = Account(account.balances.with_columns(pl.col("equity") * times), account.held)
    assert sized(table, richer, limits)["quantity"][0] >= sized(table, account, limits)["quantity"][0]


@QUICK
@given(wish=entries(), account=accounts(), limits=any_limits(), times=st.floats(1.0, 5.0))
def test_a_farther_stop_never_means_more_shares(wish, account, limits, times):
    farther = wish | {"stop": wish["entry"] + (wish["stop"] - wish["entry"]) * times}
    near, far = (sized(pl.DataFrame([each], schema=SCHEMA), account, limits)["quantity"][0] for each in (wish, farther))
    assert far <= near


@settings(QUICK, max_examples=20)
@given(
    wished=st.lists(st.tuples(st.integers(0, 3), st.booleans(), entries()), min_size=1, max_size=16),
    by_group=st.lists(accounts(), min_size=4, max_size=4),
    limits=any_limits(),
)
def test_groups_at_once_are_the_same_as_each_for_itself(wished, by_group, limits):
    table = pl.DataFrame(
        [{"session": session, "book": "x" if first else None, **wish} for session, first, wish in wished],
        schema={"session": pl.Int64(), "book": pl.String(), **SCHEMA},
    )
    keys = [(session, book) for session in range(4) for book in ("x", None)]

    def keyed(frame, session, book):
        return frame.with_columns(session=pl.lit(session, pl.Int64), book=pl.lit(book, pl.String))

    account = Account(
        pl.concat(keyed(by_group[session].balances, session, book) for session, book in keys),
        pl.concat(keyed(by_group[session].held, session, book) for session, book in keys),
    )
    at_once = sized(table, account, limits, by=["session", "book"])
    assert at_once.select(table.columns).drop("stop", "target").equals(table.drop("stop", "target"))
    for session, book in keys:
        own = pl.col("session").eq(session) & pl.col("book").eq_missing(pl.lit(book, pl.String))
        alone = sized(table.filter(own), by_group[session], limits)
        assert_frame_equal(at_once.filter(own), alone, check_exact=True)


def test_a_group_without_an_account_is_refused_and_one_with_two_is_an_error():
    table = wishes({}).with_columns(session=pl.lit(1))
    account = Account.of(1e5)
    two = Account(*(frame.with_columns(session=pl.lit(2)) for frame in (account.balances, account.held)))
    assert sized(table, two, US, by=["session"])["refused_by"].to_list() == ["account"]
    double = Account(two.balances.vstack(two.balances), two.held)
    with pytest.raises(ValueError, match="two balances of one session"):
        sized(table, double, US, by=["session"])


def test_ten_years_of_candidates_take_less_than_a_second():
    """Measured at 0.35 s; the limit leaves room for a busy machine."""
    rng = np.random.default_rng(5)
    count, sessions = 100_000, 2_500
    entry = rng.lognormal(4, 0.7, count).round(2)
    long = rng.random(count) < 0.5
    way = np.where(long, 1, -1)
    table = pl.DataFrame(
        {
            "session": np.sort(rng.integers(0, sessions, count)),
            "instrument_id": rng.integers(0, 500, count).astype(str),
            "sector": rng.integers(0, 11, count).astype(str),
            "side": np.where(long, "long", "short"),
            "entry": entry,
            "stop": entry * (1 - 0.03 * way),
            "target": entry * (1 + 0.06 * way),
            "environment": rng.choice(list("ABCD"), count),
            "edges": rng.integers(1, 5, count),
        }
    )
    days = pl.DataFrame({"session": np.arange(sessions)})
    whole = Account.of(100_000.0)
    account = Account(days.join(whole.balances, how="cross"), days.join(whole.held, how="cross"))
    found = sized(table, account, US, by=["session"])
    assert found["refused_by"].n_unique() > 3
    assert found.group_by("session").agg(pl.col("risk").sum())["risk"].max() <= 2_000.0
