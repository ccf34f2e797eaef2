"""What an alert of a fall says, in the words every channel shares."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from trading_pipeline.alerts.facts import subject
from trading_pipeline.alerts.falls import FallAlert
from trading_pipeline_tests.dip_alerts import FRIDAY, fall


def test_the_fall_in_words():
    said = fall()
    assert said.headline == "AAA: down 6.2% from its last close"
    assert said.prices == "93.80, last close 100.00"
    assert said.seen == "Seen 15 Mar 2024, 10:31 EDT (14:31 UTC)"
    assert said.what_happened == "It was at 93.80 in the minute from 10:30 EDT, 6.2% below its last close of 100.00."


def test_from_the_sessions_high_it_says_so():
    said = fall(reference="session_high", price=0.4712, reference_price=0.5, fall_pct=-5.76)
    assert said.headline == "AAA: down 5.8% from the session's high"
    assert said.prices == "0.4712, session's high 0.5000"
    assert said.what_happened.endswith("5.8% below 0.5000, the highest it had been in the session.")


def test_the_clock_is_the_exchanges():
    """In Sydney a session's moments lie on the day before in UTC while it is summer there."""
    at = datetime(2024, 3, 14, 23, 31, tzinfo=UTC)
    said = fall(market="asx", tick_at=at, bar_started_at=at.replace(minute=16))
    assert said.seen == "Seen 15 Mar 2024, 10:31 AEDT (14 Mar 2024, 23:31 UTC)"
    assert "in the minute from 10:16 AEDT" in said.what_happened, "a feed that lags is seen"


@pytest.mark.parametrize(
    ("changed", "fact", "words"),
    [
        ({"on_desk": False, "dip_pct": None, "action": None}, "Dip desk", "Not on it"),
        ({"on_desk": None}, "Dip desk", None),
        ({"action": None}, "Dip desk", "On it, 12.3% below its 52-week high the session before"),
        ({"dip_pct": float("nan"), "action": "avoid"}, "Dip desk", "On it (Avoid)"),
        ({"watched": True}, "Watchlist", "On it"),
        ({"watched": None}, "Watchlist", None),
        ({"bias": "short", "bias_reason": None}, "Bias", "Short before the open, 62% sure"),
        ({"bias": "neutral", "confidence": None, "bias_reason": ""}, "Bias", "Neutral before the open"),
        ({"bias": None}, "Bias", None),
    ],
)
def test_what_is_known_of_the_name_is_said_and_what_is_not_known_is_left_out(changed, fact, words):
    assert dict(fall(**changed).words().facts).get(fact) == words


def test_the_subject_is_readable_where_nothing_but_it_is_shown():
    one, *_ = names = [fall(ticker, world="real") for ticker in ("AAA", "BBB", "CCC", "DDD", "EEE")]
    assert subject([one]) == "AAA: down 6.2% from its last close, 15 Mar 2024"
    assert subject(names[:3]) == "3 names fell in the US session: AAA, BBB, CCC, 15 Mar 2024"
    assert subject(names) == "5 names fell in the US session: AAA, BBB, CCC and 2 more, 15 Mar 2024"
    assert subject([fall("A\r\nBcc: eve@example.org")]).count("\n") == 0


def test_it_comes_back_from_the_outbox_as_it_went_in():
    original = fall(bias_reason="It said \x00 “no” <b>twice</b> 🙂", confidence=float("nan"))
    kept = original.alert()
    assert (kept.kind, kept.market, kept.session, kept.instrument_id) == ("fall", "us", FRIDAY, "us:AAA")
    assert "\\u0000" not in json.dumps(kept.payload)
    assert FallAlert.model_validate(json.loads(json.dumps(kept.payload))) == original


@pytest.mark.parametrize(
    "changed",
    [
        *({name: value} for name in ("price", "reference_price") for value in (None, float("nan"), float("inf"), 0.0)),
        *({"fall_pct": value} for value in (None, float("nan"), float("-inf"), 0.0, 6.2)),
        *({name: None} for name in ("ticker", "instrument_id", "tick_at", "bar_started_at", "reference")),
        {"reference": "moving_average"},
        {"tick_at": datetime(2024, 3, 15, 10, 31)},  # noqa: DTZ001 - naive on purpose
        {"session": date(2024, 3, 15), "dip_pct": float("inf")},
    ],
)
def test_what_cannot_be_told_is_no_alert(changed):
    with pytest.raises(ValidationError):
        fall(**changed)
