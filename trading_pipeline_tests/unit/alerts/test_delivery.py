"""When an alert is due, whether it is news, and which channels the settings name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.alerts.channel import channels_of
from trading_pipeline.alerts.delivery import due_at, is_news
from trading_pipeline.errors import SettingsError
from trading_pipeline.markets import ASX, US
from trading_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("market", "session", "due"),
    [
        (US, date(2024, 3, 7), datetime(2024, 3, 8, 14, 30, tzinfo=UTC)),
        # Over the weekend of the change: 09:30 in New York is an hour earlier.
        (US, date(2024, 3, 8), datetime(2024, 3, 11, 13, 30, tzinfo=UTC)),
        (US, date(2024, 11, 1), datetime(2024, 11, 4, 14, 30, tzinfo=UTC)),
        # Over Good Friday and the weekend; and after a half-day.
        (US, date(2024, 3, 28), datetime(2024, 4, 1, 13, 30, tzinfo=UTC)),
        (US, date(2024, 7, 3), datetime(2024, 7, 5, 13, 30, tzinfo=UTC)),
        # In Sydney clocks went back on 7 April.
        (ASX, date(2024, 4, 4), datetime(2024, 4, 4, 22, 30, tzinfo=UTC)),
        (ASX, date(2024, 4, 5), datetime(2024, 4, 7, 23, 30, tzinfo=UTC)),
    ],
)
def test_half_past_nine_is_on_the_exchanges_clock_of_the_next_session(market, session, due):
    published_at = datetime(session.year, session.month, session.day, 8, tzinfo=UTC)
    assert due_at(market, session, "09:30", published_at) == due
    assert due_at(market, session, "close", published_at) == published_at


def test_what_is_published_after_half_past_nine_is_due_at_once():
    late = datetime(2024, 3, 11, 15, tzinfo=UTC)
    assert due_at(US, date(2024, 3, 8), "09:30", late) == late


@pytest.mark.parametrize(
    ("now", "news"),
    [
        (datetime(2024, 3, 15, 20, 0, tzinfo=UTC), True),
        (datetime(2024, 3, 17, 12, 0, tzinfo=UTC), True),
        # Monday's close is at 20:00 UTC; caught up with late on Monday it is still news, on Tuesday evening history.
        (datetime(2024, 3, 18, 22, 0, tzinfo=UTC), True),
        (datetime(2024, 3, 19, 19, 59, tzinfo=UTC), True),
        (datetime(2024, 3, 19, 20, 0, tzinfo=UTC), False),
        (datetime(2026, 1, 5, 12, 0, tzinfo=UTC), False),
    ],
)
def test_news_is_the_last_session_or_the_one_before(now, news):
    assert is_news(US, date(2024, 3, 15), now) is news


def settings(**given):
    return Settings(_env_file=None, **given)


def test_channels_are_those_the_settings_name():
    discord = {"discord_webhook_url": SecretStr("https://discord.com/api/webhooks/1/abcdefgh")}
    mail = {"smtp_host": "mail.example.org", "alert_email_from": "a@example.org", "alert_email_to": "b@example.org"}
    named = [
        [channel.name for channel in channels_of(settings(**given))] for given in ({}, discord, mail, discord | mail)
    ]
    assert named == [[], ["discord"], ["email"], ["discord", "email"]]


def test_every_setting_of_the_mail_counts():
    base = {"smtp_host": "mail.example.org", "alert_email_from": "a@example.org", "alert_email_to": "b@example.org"}
    login = {"smtp_user": "desk", "smtp_password": SecretStr("one")}
    variants = [base, base | {"smtp_port": 25}, base | {"alert_email_to": "c@example.org"}, base | login]
    variants.append(base | login | {"smtp_password": SecretStr("other")})
    assert len({channels_of(settings(**given))[0].address for given in variants}) == len(variants)


def test_a_webhook_that_is_none_is_said_at_once():
    with pytest.raises(SettingsError, match="DISCORD_WEBHOOK_URL"):
        channels_of(settings().model_copy(update={"discord_webhook_url": SecretStr("nowhere")}))


def test_due_is_never_before_it_is_published():
    for day in (date(2024, 3, 8), date(2024, 3, 28)):
        for hours in range(0, 120, 7):
            published = datetime(day.year, day.month, day.day, 21, tzinfo=UTC) + timedelta(hours=hours)
            assert due_at(US, day, "09:30", published) >= published
