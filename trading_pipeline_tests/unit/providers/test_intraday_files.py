# ruff: noqa: DTZ001 - files hold naive moments
"""People's own files of intraday bars: every usual way of writing them, and a clear answer to the rest."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.errors import EmptyWindow, NotFound
from trading_pipeline.providers.intraday import IntradayProvider
from trading_pipeline.providers.intraday_files import IntradayFiles

DAY = date(2025, 7, 8)
OPEN = datetime(2025, 7, 8, 9, 30)
OPEN_UTC = datetime(2025, 7, 8, 13, 30, tzinfo=UTC)
NOW = datetime(2025, 7, 12, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


def moments(count=30, step=1, first=OPEN):
    return [first + timedelta(minutes=step * number) for number in range(count)]


def table(ticker="SPY", starts=None, volume=100, **columns):
    starts = moments() if starts is None else starts
    prices = {name: [10.0 + number for number in range(len(starts))] for name in ("open", "high", "low", "close")}
    return pl.DataFrame(
        {"datetime": starts, "ticker": [ticker] * len(starts), **prices, "volume": [volume] * len(starts), **columns}
    )


def ask(files, *symbols, market=US, sessions=(DAY,), interval="1m", now=NOW, since=None):
    return files.intraday_bars(market, symbols, sessions, interval, now=now, since=since)


def test_it_fits_the_protocol(tmp_path):
    provider: IntradayProvider = IntradayFiles(tmp_path)
    assert provider.name == "files" and provider.reach("1m") is None


def test_a_parquet_file_of_several_tickers_in_exchange_time(tmp_path):
    pl.concat([table("SPY"), table("BRK.B")]).write_parquet(tmp_path / "bars.parquet")
    told = []
    files = IntradayFiles(tmp_path / "bars.parquet")
    batch = files.intraday_bars(
        US, ["SPY", "BRK-B"], [DAY], "1m", now=NOW, progress=lambda done, total: told.append((done, total))
    )
    assert batch.bars["symbol"].unique().sort().to_list() == ["BRK-B", "SPY"] and batch.bars.height == 60
    assert batch.bars["started_at"][0] == OPEN_UTC and batch.basis == "split_adjusted" and told == [(2, 2)]
    assert files.covers("brk/b") and not files.covers("QQQ")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "written",
    [
        lambda start: start,
        lambda start: start.strftime("%Y-%m-%d %H:%M:%S"),
        lambda start: start.strftime("%Y-%m-%dT%H:%M"),
        lambda start: start.strftime("%Y%m%d %H%M%S"),
        lambda start: start.strftime("%Y-%m-%d %H:%M:%S.000"),
        lambda start: start.strftime("%Y-%m-%d %H:%M:%S-04:00"),
        lambda start: start.strftime("%Y-%m-%dT%H:%M:%S-0400"),
        lambda start: (start + timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda start: (start + timedelta(hours=4)).strftime("%Y-%m-%d %H:%M:%S+00:00"),
        lambda start: (start + timedelta(hours=9, minutes=30)).strftime("%Y-%m-%d %H:%M:%S+05:30"),
        lambda start: int(start.replace(tzinfo=NEW_YORK).timestamp()),
        lambda start: int(start.replace(tzinfo=NEW_YORK).timestamp() * 1000),
        lambda start: int(start.replace(tzinfo=NEW_YORK).timestamp()) * 10**9,
    ],
)
def test_moments_however_they_are_written(tmp_path, written, suffix):
    frame = table(starts=[written(start) for start in moments()])
    path = tmp_path / f"bars.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    assert ask(IntradayFiles(path), "SPY").bars["started_at"].to_list() == moments(first=OPEN_UTC)


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Australia/Sydney"])
def test_moments_with_a_zone_are_taken_at_their_word(tmp_path, zone):
    starts = pl.Series(moments(first=OPEN_UTC)).dt.convert_time_zone(zone)
    table(starts=starts).write_parquet(tmp_path / "bars.parquet")
    assert ask(IntradayFiles(tmp_path), "SPY").bars["started_at"][0] == OPEN_UTC


def test_a_date_and_a_time_of_their_own_are_put_together(tmp_path):
    header = "Date,Time,Open,High,Low,Close,Vol"
    lines = [f"{start:%Y-%m-%d},{start:%H:%M:%S},1,3,0.5,2,100" for start in moments()]
    (tmp_path / "SPY.csv").write_text("\n".join([header, *lines]))
    assert ask(IntradayFiles(tmp_path), "SPY").bars["started_at"][0] == OPEN_UTC


def test_naive_moments_are_those_of_the_symbols_own_exchange_in_summer_and_winter(tmp_path):
    winter, summer = datetime(2025, 1, 8, 10, 0), datetime(2025, 7, 8, 10, 0)
    for name in ("SPY", "BHP.AX"):
        table(name, [*moments(first=winter), *moments(first=summer)]).write_parquet(tmp_path / f"{name}.parquet")
    files, days = IntradayFiles(tmp_path), [winter.date(), summer.date()]
    in_new_york = ask(files, "SPY", sessions=days).bars["started_at"]
    in_sydney = ask(files, "BHP.AX", market=ASX, sessions=days).bars["started_at"]
    assert [in_new_york[0].hour, in_new_york[30].hour] == [15, 14]
    assert [in_sydney[0].hour, in_sydney[30].hour] == [23, 0]


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("SPY_1min_20250708_20250714.csv", "SPY"),
        ("bhp.ax_5m.csv", "BHP.AX"),
        ("SPY.csv", "SPY"),
        ("^VIX 1.csv", "^VIX"),
    ],
)
def test_a_file_without_tickers_begins_with_it(tmp_path, name, symbol):
    table().drop("ticker").write_csv(tmp_path / name)
    assert IntradayFiles(tmp_path).covers(symbol)


@pytest.mark.parametrize("name", ["1min_3_tickers.csv", "5m.csv"])
def test_a_file_that_names_no_ticker_anywhere_is_refused(tmp_path, name):
    table().drop("ticker").write_csv(tmp_path / name)
    with pytest.raises(InputRefused, match="column for the ticker"):
        ask(IntradayFiles(tmp_path), "SPY")


@pytest.mark.parametrize(("minutes", "interval"), [(1, "1m"), (5, "5m"), (15, "15m")])
def test_the_length_of_bars_follows_from_their_steps(tmp_path, minutes, interval):
    starts = moments(26, minutes)
    gappy = [start for number, start in enumerate(starts) if number not in (3, 4, 11)]
    table(starts=gappy).write_parquet(tmp_path / "bars.parquet")
    files = IntradayFiles(tmp_path)
    assert ask(files, "SPY", interval=interval).bars.height == 23
    (other,) = {"1m", "5m"} - {interval} if minutes != 15 else ("5m",)
    (failure,) = ask(files, "SPY", interval=other).failures
    assert isinstance(failure.error, NotFound) and f"of {interval}, none of {other}" in failure.error.problem


def test_several_lengths_in_a_folder_are_kept_apart(tmp_path):
    table(starts=moments(390)).write_parquet(tmp_path / "one.parquet")
    table(starts=moments(78, 5), volume=500).write_parquet(tmp_path / "five.parquet")
    files = IntradayFiles(tmp_path)
    assert [ask(files, "SPY", interval=interval).bars.height for interval in ("1m", "5m")] == [390, 78]


def test_two_lengths_in_one_file_are_refused(tmp_path):
    tomorrow = OPEN + timedelta(days=1)
    table(starts=[*moments(100), *moments(78, 5, tomorrow)]).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(InputRefused, match=r"bars.parquet mixes bars of 1 minutes and 5 minutes \(SPY\)"):
        ask(IntradayFiles(tmp_path), "SPY")


@pytest.mark.parametrize("minutes", [2, 10, 30, 60])
def test_other_lengths_are_refused(tmp_path, minutes):
    starts = [*moments(24, minutes, OPEN), *moments(24, minutes, OPEN + timedelta(days=1))]
    starts = [start for start in starts if start.date() in (DAY, DAY + timedelta(days=1))]
    table(starts=starts).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(InputRefused, match=f"bars of {minutes} minutes"):
        ask(IntradayFiles(tmp_path), "SPY")


def test_too_few_bars_to_tell_have_the_length_of_the_others_or_of_the_files_name(tmp_path):
    few = table("QQQ", moments(2, 5))
    few.write_parquet(tmp_path / "QQQ.parquet")
    with pytest.raises(InputRefused, match=r"too few bars of QQQ.*QQQ_5min.parquet"):
        ask(IntradayFiles(tmp_path), "QQQ")
    (tmp_path / "QQQ.parquet").rename(tmp_path / "QQQ_5min.parquet")
    assert ask(IntradayFiles(tmp_path), "QQQ", interval="5m").bars.height == 2
    pl.concat([few, table("SPY", moments(30, 5))]).write_parquet(tmp_path / "QQQ_5min.parquet")
    assert ask(IntradayFiles(tmp_path), "QQQ", interval="5m").bars.height == 2


def test_a_download_made_during_the_session_ends_off_the_grid(tmp_path):
    last = OPEN + timedelta(minutes=127, seconds=23)
    table(starts=[*moments(26, 5), last]).write_parquet(tmp_path / "bars.parquet")
    bars = ask(IntradayFiles(tmp_path), "SPY", interval="5m").bars
    assert bars["started_at"][-1] == OPEN_UTC + timedelta(minutes=127, seconds=23) and bars.height == 27


def test_nothing_is_told_of_a_bar_that_is_not_over(tmp_path):
    table(starts=moments(30, 5)).write_parquet(tmp_path / "bars.parquet")
    files = IntradayFiles(tmp_path)
    for minutes, count in ((0, 0), (4, 0), (5, 1), (9, 1), (10, 2)):
        assert ask(files, "SPY", interval="5m", now=OPEN_UTC + timedelta(minutes=minutes)).bars.height == count


def test_since_and_sessions_cut_the_answer(tmp_path):
    table(starts=[*moments(), *moments(first=OPEN + timedelta(days=1))]).write_parquet(tmp_path / "bars.parquet")
    files, since = IntradayFiles(tmp_path), OPEN_UTC + timedelta(minutes=20)
    assert ask(files, "SPY").bars.height == 30 and ask(files, "SPY", since=since).bars.height == 10
    (failure,) = ask(files, "SPY", sessions=[date(2025, 7, 10)]).failures
    assert isinstance(failure.error, EmptyWindow)


def test_volume_outside_regular_hours_is_unknown_where_it_is_zero(tmp_path):
    table(starts=[OPEN - timedelta(minutes=1), *moments()], volume=0).write_parquet(tmp_path / "bars.parquet")
    assert ask(IntradayFiles(tmp_path), "SPY").bars["volume"].to_list() == [None, *[0.0] * 30]


def test_two_files_of_the_same_bars_are_bars_and_duplicates(tmp_path):
    for name in ("a", "b"):
        table().write_parquet(tmp_path / f"{name}.parquet")
    batch = ask(IntradayFiles(tmp_path), "SPY")
    assert batch.bars.height == batch.duplicates.height == 30


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "bars.parquet"
    table().write_parquet(path)
    files = IntradayFiles(path)
    assert ask(files, "SPY").bars.height == 30
    table(starts=moments(40)).write_parquet(path)
    os.utime(path, (1, 1))
    assert ask(files, "SPY").bars.height == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open,high,low,close,volume\n1,1,1,1,1\n", "no column for datetime"),
        ("datetime,open,high,low,close\n2025-07-08 09:30,1,1,1,1\n", "no column for volume"),
        ("datetime,open,high,low,close,volume\n07/08/2025 09:30,1,1,1,1,1\n", "no moment like"),
        ("datetime,open,high,low,close,volume\n2025-03-09 02:30,1,1,1,1,1\n", "no moment like"),
        ("datetime,open,high,low,close,volume\n2025-07-08 09:30,cheap,1,1,1,1\n", "'cheap' in row 1"),
        ("datetime,ticker,open,high,low,close,volume\n2025-07-08 09:30,,1,1,1,1,1\n", "ticker is empty"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, message):
    (tmp_path / "SPY.csv").write_text(text)
    with pytest.raises(InputRefused, match=message):
        ask(IntradayFiles(tmp_path), "SPY")


def test_a_date_without_a_time_is_no_moment(tmp_path):
    table(starts=[DAY + timedelta(days=number) for number in range(30)]).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(InputRefused, match="not moments"):
        ask(IntradayFiles(tmp_path), "SPY")


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_no_file_is_said_in_one_line(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefused, match=f"{path}"):
        ask(IntradayFiles(tmp_path / path), "SPY")
