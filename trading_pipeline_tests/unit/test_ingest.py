"""Receiving from a vendor with Yahoo's habits: prices divided by the splits it knows, no action before its ex-date."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.errors import UnknownSession
from trading_pipeline.ingest import receive, receive_all, revised_sessions
from trading_pipeline.markets import US
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    DailyBarsBatch,
    Failure,
    Quota,
    split_duplicates,
)
from trading_pipeline.providers.errors import EmptyWindow, NotFound, RateLimited
from trading_pipeline.sessions import calendar

NYSE = calendar("XNYS")
SESSIONS = NYSE.between(date(2024, 1, 2), date(2024, 3, 28))
FIRST = SESSIONS[0]


class Vendor:
    """A vendor whose truth is as traded. `splits` it announces; `silent` ones it applies without a word."""

    name = "vendor"
    lag = timedelta(minutes=15)
    quota = Quota(100, 100, 1)

    def __init__(self, symbols=("AAA", "BBB")):
        self.closes = {symbol: {day: 100.0 + place % 7 for place, day in enumerate(SESSIONS)} for symbol in symbols}
        self.volumes = dict.fromkeys(symbols, 1_000_000.0)
        self.splits, self.silent, self.dividends = [], [], []
        self.failures, self.fails_second = {}, {}
        self.again = []
        self.asked = []

    def covers(self, symbol):
        return symbol in self.closes

    def latest_session(self, market, now):
        return None

    def universe_keys(self, market):
        return ("ALL",)

    def members(self, market, universe, sessions):
        return pl.DataFrame({"ticker": list(self.closes)})

    def split(self, symbol, day, ratio, announced=True):
        (self.splits if announced else self.silent).append((symbol, day, ratio))
        for session in self.closes[symbol]:
            if session >= day:
                self.closes[symbol][session] /= ratio

    def daily_bars(self, requests, *, now, progress=None):
        self.asked.append({request.symbol: request.first for request in requests})
        today = NYSE.local_date(now)
        bars, actions, failures = [], [], []
        for request in requests:
            failing = {**self.failures, **(self.fails_second if request.first == FIRST else {})}
            if request.symbol in failing:
                failures.append(Failure(request.symbol, failing[request.symbol]))
                continue
            applied = [
                split for split in (*self.splits, *self.silent) if split[0] == request.symbol and split[1] <= today
            ]

            def divisor(day, applied=applied):
                product = 1.0
                for _, ex_date, ratio in applied:
                    product *= ratio if ratio and ex_date > day else 1.0
                return product

            told = {day: close for day, close in self.closes[request.symbol].items() if NYSE.open_at(day) < now}
            rows = [
                (
                    request.symbol,
                    day,
                    *((close and close / divisor(day),) * 4),
                    None,
                    self.volumes[request.symbol] * divisor(day),
                    "USD",
                )
                for day, close in told.items()
                if request.first <= day <= request.last
            ]
            rows += [row for row in self.again if row[0] == request.symbol]
            if not rows:
                failures.append(Failure(request.symbol, EmptyWindow(f"{request.symbol} has no bar")))
            bars += rows
            for kind, facts in (("split", self.splits), ("dividend", self.dividends)):
                for symbol, day, value in facts:
                    if symbol == request.symbol and request.first <= day <= min(request.last, today):
                        amount = value if kind == "split" else value / divisor(day)
                        actions.append((symbol, day, kind, amount, "USD"))
        first, further = split_duplicates(pl.DataFrame(bars, schema=BARS_SCHEMA, orient="row"))
        return DailyBarsBatch(
            bars=first,
            actions=pl.DataFrame(actions, schema=ACTIONS_SCHEMA, orient="row"),
            failures=failures,
            http_calls=len(requests),
            duplicates=further,
        )


@pytest.fixture
def vendor():
    return Vendor()


@pytest.fixture
def fetch(vendor, lake):
    """Receive both symbols in the evening of a session, or at the moment given."""

    def run(when, first=FIRST, wanted=("AAA", "BBB"), **options):
        now = when if isinstance(when, datetime) else evening(when)
        return receive(vendor, US, {symbol: f"us:{symbol}" for symbol in wanted}, lake, now=now, first=first, **options)

    return run


def evening(session):
    return NYSE.close_at(session) + timedelta(hours=2)


def stored(lake, table="received_bars", symbol="AAA"):
    rows = lake.read("us", table).filter(pl.col("symbol") == symbol)
    return rows.sort("session", "known_at")


def test_the_first_fetch_stores_everything_from_the_first_session_as_available_at_the_close_plus_the_lag(fetch, lake):
    report = fetch(SESSIONS[20])
    assert (report.asked, report.answered, report.calls_avoided, report.http_calls) == (2, 2, 0, 2)
    assert report.new == 2 * 21
    assert report.coverage == 1.0
    bars = stored(lake)
    assert bars["session"].to_list() == SESSIONS[:21]
    assert bars["available_at"].to_list() == [NYSE.close_at(day) + US.data_lag for day in SESSIONS[:21]]
    assert set(bars["known_at"]) == {evening(SESSIONS[20])}
    assert report.touched.is_empty()


def test_nothing_is_asked_where_nothing_is_missing(fetch, vendor):
    fetch(SESSIONS[20])
    report = fetch(evening(SESSIONS[20]) + timedelta(hours=9))
    assert (report.asked, report.calls_avoided, report.http_calls) == (0, 2, 0)
    assert report.coverage == 1.0
    assert len(vendor.asked) == 1


def test_an_increment_asks_for_the_first_missing_session_less_the_overlap(fetch, vendor):
    fetch(SESSIONS[20])
    report = fetch(SESSIONS[22])
    assert vendor.asked[-1] == {"AAA": SESSIONS[11], "BBB": SESSIONS[11]}
    assert (report.new, report.unchanged) == (2 * 2, 2 * 10)


def test_each_instrument_has_a_window_of_its_own(fetch, vendor):
    fetch(SESSIONS[10], wanted=["AAA"])
    fetch(SESSIONS[20])
    assert vendor.asked[-1] == {"AAA": SESSIONS[1], "BBB": FIRST}
    assert fetch(SESSIONS[20]).calls_avoided == 2


def test_a_longer_history_is_asked_for_once_even_of_a_name_listed_later(fetch, vendor, lake):
    vendor.closes["BBB"] = {day: close for day, close in vendor.closes["BBB"].items() if day >= SESSIONS[15]}
    fetch(SESSIONS[20])
    assert fetch(SESSIONS[20]).calls_avoided == 2, "BBB was asked from the first session and had no more"
    fetch(SESSIONS[30], first=SESSIONS[25])
    vendor.closes["AAA"] = {NYSE.offset(FIRST, -3): 99.0, **vendor.closes["AAA"]}
    fetch(SESSIONS[30], first=NYSE.offset(FIRST, -5))
    assert vendor.asked[-1]["AAA"] == NYSE.offset(FIRST, -5)
    early = stored(lake).head(1)
    assert early["session"].item() == NYSE.offset(FIRST, -3)
    assert early["available_at"].item() == NYSE.close_at(early["session"].item()) + US.data_lag


def test_a_forming_bar_is_provisional_and_its_final_one_is_available_at_the_close_not_a_revision(fetch, vendor, lake):
    fetch(SESSIONS[9])
    noon = NYSE.open_at(SESSIONS[11]) + timedelta(hours=2)
    final = vendor.closes["AAA"][SESSIONS[11]]
    vendor.closes["AAA"][SESSIONS[11]] = 90.0
    fetch(noon)
    vendor.closes["AAA"][SESSIONS[11]] = final
    report = fetch(SESSIONS[11])
    assert (report.settled, report.revised) == (2, 0)
    versions = stored(lake).filter(pl.col("session") == SESSIONS[11])
    assert versions["provisional"].to_list() == [True, False]
    assert versions["available_at"].to_list() == [noon, NYSE.close_at(SESSIONS[11]) + US.data_lag]
    assert versions["close"].to_list() == [90.0, final]


def test_a_revision_is_available_when_we_learned_of_it(fetch, vendor, lake):
    fetch(SESSIONS[20])
    vendor.closes["AAA"][SESSIONS[18]] = 150.0
    report = fetch(SESSIONS[21])
    assert report.revised == 1
    assert report.touched.rows() == [("us:AAA", SESSIONS[18], "revised")]
    versions = stored(lake).filter(pl.col("session") == SESSIONS[18])
    assert versions["close"].to_list() == [pytest.approx(104.0), 150.0]
    assert versions["available_at"][1] == versions["known_at"][1] == evening(SESSIONS[21])


def test_a_bar_that_turns_up_late_was_not_available_before(fetch, vendor, lake):
    missing = vendor.closes["AAA"].pop(SESSIONS[18])
    fetch(SESSIONS[20])
    vendor.closes["AAA"][SESSIONS[18]] = missing
    report = fetch(SESSIONS[21])
    assert (report.late, report.revised) == (1, 0)
    assert report.touched.rows() == [("us:AAA", SESSIONS[18], "late")]
    assert stored(lake).filter(pl.col("session") == SESSIONS[18])["available_at"].item() == evening(SESSIONS[21])


def test_a_null_bar_of_the_latest_session_is_asked_for_again(fetch, vendor, lake):
    value = vendor.closes["AAA"][SESSIONS[20]]
    vendor.closes["AAA"][SESSIONS[20]] = None
    fetch(SESSIONS[20])
    vendor.closes["AAA"][SESSIONS[20]] = value
    report = fetch(evening(SESSIONS[20]) + timedelta(hours=1))
    assert (report.asked, report.revised) == (1, 1)


def test_an_announced_split_changes_no_stored_bar_and_has_the_full_history_read_again(fetch, vendor, lake):
    fetch(SESSIONS[30])
    before = stored(lake)
    vendor.split("AAA", SESSIONS[31], 4.0)
    report = fetch(SESSIONS[31])
    assert report.refetched == ["us:AAA"]
    assert vendor.asked[-1] == {"AAA": FIRST}
    assert (report.revised, report.basis_breaks.height, report.new, report.actions_new) == (0, 0, 2, 1)
    after = stored(lake)
    assert after.filter(pl.col("session") <= SESSIONS[30]).equals(before)
    assert after["close"][-1] == pytest.approx((100.0 + 31 % 7) / 4)
    split = stored(lake, "received_actions").row(0, named=True)
    assert split["available_at"] == NYSE.open_at(SESSIONS[31])
    assert fetch(SESSIONS[32]).refetched == []


def test_a_history_received_after_its_splits_is_as_traded(fetch, vendor, lake):
    vendor.dividends.append(("AAA", SESSIONS[5], 0.4))
    vendor.split("AAA", SESSIONS[10], 4.0)
    fetch(SESSIONS[20])
    bars = stored(lake)
    assert bars["close"][9] == pytest.approx(102.0)
    assert (bars["received_close"][9], bars["split_factor"][9]) == (pytest.approx(25.5), 4.0)
    assert bars["volume"].to_list() == pytest.approx([1_000_000.0] * 21)
    dividend = stored(lake, "received_actions").filter(pl.col("kind") == "dividend").row(0, named=True)
    assert (dividend["value"], dividend["received_value"]) == (pytest.approx(0.4), pytest.approx(0.1))


def test_a_split_nobody_announced_is_one_basis_break_until_it_is_announced(fetch, vendor, lake):
    vendor.dividends.append(("AAA", SESSIONS[5], 0.4))
    fetch(SESSIONS[30])
    before = stored(lake)
    vendor.split("AAA", SESSIONS[31], 4.0, announced=False)
    report = fetch(SESSIONS[31])
    assert report.refetched == ["us:AAA"]
    assert report.basis_breaks.select("instrument_id", "factor", "last_session").rows() == [
        ("us:AAA", pytest.approx(0.25), SESSIONS[30])
    ]
    assert (report.revised, report.new, report.actions_revised) == (0, 2, 0)
    assert stored(lake).head(31).equals(before)
    again = fetch(SESSIONS[32])
    assert (again.basis_breaks.height, again.revised, again.new) == (1, 0, 2)

    vendor.splits, vendor.silent = vendor.silent, []
    healed = fetch(SESSIONS[33])
    assert (healed.basis_breaks.height, healed.revised, healed.actions_new) == (0, 0, 1)
    assert stored(lake, "received_actions").filter(pl.col("kind") == "split")["available_at"].item() == evening(
        SESSIONS[33]
    ), "told inside the sessions received: not available before"


def test_a_suspicion_that_could_not_be_looked_into_stores_nothing_and_is_asked_again(fetch, vendor, lake):
    fetch(SESSIONS[30])
    before = stored(lake)
    vendor.split("AAA", SESSIONS[31], 4.0, announced=False)
    vendor.fails_second = {"AAA": RateLimited("AAA: too many requests")}
    report = fetch(SESSIONS[31])
    assert (report.answered, report.failed, report.coverage) == (1, {"rate_limited": 1}, 0.5)
    assert stored(lake).equals(before)
    vendor.fails_second = {}
    assert fetch(SESSIONS[31]).basis_breaks.height == 1


def test_a_break_that_was_looked_into_is_stored_when_asked_to(fetch, vendor, lake):
    fetch(SESSIONS[30])
    vendor.split("AAA", SESSIONS[0], 4.0, announced=False)
    vendor.silent.clear()
    assert fetch(SESSIONS[31]).basis_breaks["factor"].to_list() == pytest.approx([0.25])
    report = fetch(SESSIONS[32], rebase=["us:AAA"])
    assert report.revised == 31
    assert fetch(SESSIONS[33]).basis_breaks.is_empty()


def test_actions_are_revised_withdrawn_and_told_again_each_as_a_version(fetch, vendor, lake):
    vendor.dividends.append(("AAA", SESSIONS[18], 0.4))
    fetch(SESSIONS[20])
    vendor.dividends[0] = ("AAA", SESSIONS[18], 0.5)
    assert fetch(SESSIONS[21]).actions_revised == 1
    gone = vendor.dividends.pop()
    report = fetch(SESSIONS[22])
    assert report.actions_withdrawn == 1
    assert report.touched.rows() == [("us:AAA", SESSIONS[18], "action")]
    vendor.dividends.append(gone)
    assert fetch(SESSIONS[23]).actions_revised == 1
    versions = stored(lake, "received_actions")
    assert versions.select("value", "withdrawn").rows() == [(0.4, False), (0.5, False), (0.5, True), (0.5, False)]
    assert versions["available_at"].to_list() == [
        NYSE.open_at(SESSIONS[18]),
        *(evening(SESSIONS[place]) for place in (21, 22, 23)),
    ]


def test_an_action_outside_the_window_is_not_withdrawn_nor_one_of_a_symbol_that_failed(fetch, vendor, lake):
    vendor.dividends += [("AAA", SESSIONS[3], 0.4), ("BBB", SESSIONS[18], 0.4)]
    fetch(SESSIONS[20])
    vendor.dividends.clear()
    vendor.failures["BBB"] = RateLimited("BBB: too many requests")
    assert fetch(SESSIONS[21]).actions_withdrawn == 0


def test_a_source_that_tells_no_actions_takes_none_back(fetch, vendor, lake):
    vendor.dividends += [("AAA", SESSIONS[place], 0.4) for place in (3, 8, 13)]
    vendor.split("BBB", SESSIONS[5], 2.0)
    fetch(SESSIONS[20])
    vendor.dividends.clear()
    report = fetch(SESSIONS[21], everything=True)
    assert (report.actions_withdrawn, report.withdrawals_doubted) == (0, 3)
    assert not stored(lake, "received_actions")["withdrawn"].any()


def test_refused_actions_and_duplicates_are_reported_and_not_stored(fetch, vendor, lake):
    vendor.splits.append(("AAA", SESSIONS[10], 0.0))
    vendor.again.append(("AAA", SESSIONS[5], 1.0, 1.0, 1.0, 1.0, None, 1.0, "USD"))
    report = fetch(SESSIONS[20])
    assert report.refused_actions.select("symbol", "reason").rows() == [("AAA", "not a ratio")]
    assert report.duplicates.height == 1
    assert stored(lake, "received_actions").is_empty()
    assert stored(lake).height == 21


def test_failed_symbols_are_counted_by_class_and_the_others_stored(fetch, vendor, lake):
    vendor.failures["BBB"] = NotFound("BBB is unknown")
    report = fetch(SESSIONS[20])
    assert report.failed == {"not_found": 1}
    assert report.coverage == 0.5
    assert stored(lake).height == 21


def test_days_that_are_no_sessions_are_left_out_and_counted(fetch, vendor, lake):
    vendor.again.append(("AAA", date(2024, 1, 15), 1.0, 1.0, 1.0, 1.0, None, 1.0, "USD"))
    report = fetch(SESSIONS[20])
    assert report.off_calendar == 1
    assert stored(lake).height == 21


def test_a_clock_that_goes_backwards_still_orders_the_versions(fetch, vendor, lake):
    fetch(SESSIONS[20])
    vendor.closes["AAA"][SESSIONS[18]] = 150.0
    fetch(SESSIONS[20], everything=True)
    versions = stored(lake).filter(pl.col("session") == SESSIONS[18])
    assert versions["close"].to_list() == [pytest.approx(104.0), 150.0]
    assert versions["known_at"][1] - versions["known_at"][0] == timedelta(microseconds=1)


def test_bars_lost_after_their_actions_were_stored_come_with_the_next_run(fetch, vendor, lake, monkeypatch):
    vendor.dividends.append(("AAA", SESSIONS[18], 0.4))
    whole = type(lake).append

    def dies_at_bars(self, market, table, frame):
        if table == "received_bars":
            raise KeyboardInterrupt
        return whole(self, market, table, frame)

    monkeypatch.setattr(type(lake), "append", dies_at_bars)
    with pytest.raises(KeyboardInterrupt):
        fetch(SESSIONS[20])
    monkeypatch.setattr(type(lake), "append", whole)
    report = fetch(SESSIONS[20])
    assert (report.new, report.actions_new) == (42, 0)
    assert stored(lake, "received_actions").height == 1


def test_two_fetches_at_once_end_as_one(vendor, lake):
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(receive, Vendor(), US, {"AAA": "us:AAA"}, lake, now=evening(SESSIONS[20]), first=FIRST)
            for _ in range(2)
        ]
        reports = [run.result() for run in runs]
    assert sorted(report.new for report in reports) == [0, 21]
    assert stored(lake).height == 21


def test_the_sessions_to_run_again_are_read_from_what_was_stored(fetch, vendor, lake):
    fetch(SESSIONS[20])
    touched, newest = revised_sessions(lake, "us", datetime.min.replace(tzinfo=UTC))
    assert (touched, newest) == ([], evening(SESSIONS[20]))
    vendor.closes["AAA"][SESSIONS[18]] = 150.0
    vendor.dividends += [("AAA", SESSIONS[17], 0.4), ("AAA", SESSIONS[21], 0.4)]
    vendor.closes["BBB"].pop(SESSIONS[21])
    fetch(SESSIONS[21])
    assert revised_sessions(lake, "us", newest) == ([SESSIONS[17], SESSIONS[18]], evening(SESSIONS[21]))
    assert revised_sessions(lake, "us", evening(SESSIONS[21])) == ([], None)


def test_a_dropped_collection_is_received_whole_and_again_when_it_was_corrected(vendor, lake):
    class World:
        def __init__(self, now):
            self.lake, self.now = lake, lambda: now

        def instruments(self, market):
            return self

        def ids_of(self, symbols, on):
            return [f"us:{symbol}" for symbol in symbols]

    assert receive_all(World(evening(SESSIONS[20])), vendor, US).new == 42
    vendor.closes["BBB"][SESSIONS[2]] = 77.0
    assert receive_all(World(evening(SESSIONS[20]) + timedelta(hours=1)), vendor, US).revised == 1


def test_a_naive_moment_and_a_session_to_come_are_refused(fetch):
    with pytest.raises(ValueError, match="zone-aware"):
        fetch(evening(SESSIONS[20]).replace(tzinfo=None))
    with pytest.raises(UnknownSession, match="future"):
        fetch(SESSIONS[20], last=SESSIONS[30])


def test_the_metadata_is_plain_and_complete(fetch, vendor):
    vendor.failures["BBB"] = NotFound("BBB is unknown")
    metadata = fetch(SESSIONS[20]).metadata()
    assert metadata["failed"] == {"not_found": 1}
    assert metadata["rows"] == 21
    assert {type(value) for value in metadata.values()} <= {str, int, float, dict, list}


def test_a_market_of_which_nothing_is_wanted_is_an_empty_report(fetch, lake):
    report = fetch(SESSIONS[20], wanted=[])
    assert (report.asked, report.rows, report.coverage) == (0, 0, 1.0)
    assert lake.read("us", "received_bars").is_empty()
