"""Which voice is asked about whom: the first for all, the others for holes and failures, the last to confirm."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.markets import US
from trading_pipeline.providers.api_ninjas import ApiNinjas
from trading_pipeline.providers.earnings_voices import EarningsVoices
from trading_pipeline.providers.finnhub import Finnhub

NOW = datetime(2025, 5, 7, 21, 0, tzinfo=UTC)
TODAY = NOW.date()
LAST = TODAY + timedelta(days=6)
IDS = {"SOON": "us:SOON", "HOLE": "us:HOLE", "LATE": "us:LATE"}


def finnhub_row(symbol, day):
    numbers = dict.fromkeys(("epsActual", "epsEstimate", "revenueActual", "revenueEstimate"))
    return {"date": f"{day}", "symbol": symbol, "hour": "bmo", "quarter": 1, "year": 2025, **numbers}


@pytest.fixture
def voices(server, patient, unlimited):
    how = {"throttle": unlimited, "policy": patient(attempts=1)}
    first = Finnhub(SecretStr("a"), base_url=f"{server.url}/api/v1", **how)
    backup, third = (ApiNinjas(SecretStr("b"), base_url=f"{server.url}/{name}", **how) for name in ("backup", "third"))
    third.name = "third"
    return EarningsVoices([first, backup, third])


@pytest.fixture
def told(server, answer):
    def by_ninjas(voice, *rows):
        server.answers[f"/{voice}/v1/earningscalendar"] = answer(list(rows))

    server.answers["/api/v1//calendar/earnings"] = answer(
        {"earningsCalendar": [finnhub_row("SOON", TODAY + timedelta(days=3)), finnhub_row("LATE", date(2025, 7, 30))]}
    )
    by_ninjas("backup")
    by_ninjas("third")
    return by_ninjas


def asked(server, voice):
    return sorted({r.query["ticker"][0] for r in server.asked if r.path == f"/{voice}/v1/earningscalendar"})


def test_the_backup_is_asked_for_holes_and_the_last_to_confirm_what_is_near(voices, told, server):
    answers = voices.ask(US, lambda _: IDS, TODAY, LAST, now=NOW)
    assert [voice.provider.name for voice in answers] == ["finnhub", "api_ninjas", "third"]
    assert asked(server, "backup") == ["HOLE"] and asked(server, "third") == ["HOLE", "SOON"]
    assert [sorted(voice.ids) for voice in answers] == [["HOLE", "LATE", "SOON"], ["HOLE"], ["HOLE", "SOON"]]
    assert answers[0].batch.rows["symbol"].to_list() == ["LATE", "SOON"] and answers[1].batch.rows.is_empty()


def test_a_hole_the_backup_filled_is_not_asked_of_the_last(voices, told, server):
    told("backup", {"date": "2025-07-31", "ticker": "HOLE", "actual_eps": None, "estimated_eps": 1.0})
    voices.ask(US, lambda _: IDS, TODAY, date(2025, 8, 5), now=NOW)
    assert asked(server, "third") == ["SOON"]


def test_when_the_first_voice_is_rate_limited_the_others_are_asked_for_all(voices, told, server, answer):
    server.answers["/api/v1//calendar/earnings"] = answer({"error": "limit"}, 429)
    answers = voices.ask(US, lambda _: IDS, TODAY, LAST, now=NOW)
    assert asked(server, "backup") == asked(server, "third") == sorted(IDS)
    assert {failure.error.kind for failure in answers[0].batch.failures} == {"rate_limited"}
    assert not answers[1].batch.failures


def test_names_are_the_same_whatever_each_voice_calls_them(voices, told, server):
    def spelled(provider):
        return {symbol if provider.name == "finnhub" else f"{symbol}-X": id_ for symbol, id_ in IDS.items()}

    voices.ask(US, spelled, TODAY, LAST, now=NOW)
    assert asked(server, "backup") == ["HOLE-X"]


def test_a_voice_nobody_needs_is_not_asked(server, told, voices):
    only_late = {"LATE": "us:LATE"}
    assert [voice.provider.name for voice in voices.ask(US, lambda _: only_late, TODAY, LAST, now=NOW)] == ["finnhub"]
