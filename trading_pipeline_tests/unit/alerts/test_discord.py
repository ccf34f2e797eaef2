"""Alerts as Discord embeds: inside every limit whatever the words, literal, and legible."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from trading_pipeline.alerts.discord import Discord, embed, message
from trading_pipeline.errors import SettingsError
from trading_pipeline_tests.dip_alerts import TOKEN, dip, fall

WEBHOOK = SecretStr(f"https://discord.com/api/webhooks/1234567890/{TOKEN}")


def length(text):
    """As JavaScript counts it, which is never less than Python's count."""
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def assert_within_limits(body):
    """Discord's documented limits, told once more in the test's own words."""
    assert 0 < length(body["content"]) <= 2000
    assert 1 <= len(body["embeds"]) <= 10
    assert body["allowed_mentions"] == {"parse": []}
    total = 0
    for made in body["embeds"]:
        assert set(made) == {"title", "description", "color", "fields", "footer"}
        assert 0 < length(made["title"]) <= 256
        assert 0 < length(made["description"]) <= 4096
        assert 0 < length(made["footer"]["text"]) <= 2048
        assert 0 <= made["color"] <= 0xFFFFFF
        assert len(made["fields"]) <= 25
        total += length(made["title"]) + length(made["description"]) + length(made["footer"]["text"])
        for field in made["fields"]:
            assert 0 < length(field["name"]) <= 256
            assert 0 < length(field["value"].strip()) <= 1024
            total += length(field["name"]) + length(field["value"])
    assert total <= 6000


words = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["", " \n ", "*" * 5000, "🙂" * 5000, "word " * 3000, "line\n" * 900, "\\" * 3000, "@everyone"]),
)
dips = st.builds(
    dip,
    ticker=st.text("ABC.-", min_size=1, max_size=300),
    why=words,
    play=words,
    risks=words,
    evidence=words,
    outlook=words,
    cause=words,
    gates_failed=words,
    verdict=st.none() | words,
    grade=st.none() | words,
    environment=st.none() | words,
    data_quality=words,
    source=st.sampled_from(["rules", "claude"]),
    model=st.none() | words,
    action=st.sampled_from(["buy", "wait", "avoid"]),
    price=st.floats(0.0001, 1e12),
    total=st.none() | st.floats(0, 100),
    sessions_to_report=st.none() | st.integers(0, 90),
    world=st.sampled_from(["simulated", "real"]),
)


falls = st.builds(
    fall,
    ticker=st.text("ABC.-*_", min_size=1, max_size=3000),
    price=st.floats(0.0001, 1e12),
    reference=st.sampled_from(["previous_close", "session_high"]),
    reference_price=st.floats(0.0001, 1e12),
    fall_pct=st.floats(-100, -0.001),
    on_desk=st.none() | st.booleans(),
    dip_pct=st.none() | st.floats(0, 100),
    action=st.none() | words,
    watched=st.none() | st.booleans(),
    bias=st.none() | words,
    confidence=st.none() | st.floats(0, 1),
    bias_reason=st.none() | words,
    world=st.sampled_from(["simulated", "real"]),
)


@given(batch=st.lists(dips, min_size=1, max_size=25) | st.lists(falls, min_size=1, max_size=25))
@settings(max_examples=100, deadline=None)
def test_every_message_keeps_every_limit_and_every_alert_is_told_in_order(batch):
    packed = Discord(WEBHOOK).messages(batch)
    assert [id(one) for some in packed for one in some] == [id(one) for one in batch]
    for some in packed:
        assert_within_limits(message(some))


def test_messages_are_as_few_as_the_limits_allow():
    assert [len(some) for some in Discord(WEBHOOK).messages([dip(evidence="", risks="")] * 23)] == [10, 10, 3]
    assert [len(some) for some in Discord(WEBHOOK).messages([dip(why="w" * 9000, risks="r" * 9000)] * 5)] == [2, 2, 1]
    assert Discord(WEBHOOK).messages([]) == []


def test_what_is_told_of_a_dip():
    made = embed(dip())
    assert made["title"] == "AAA: 12.3% below its 52-week high"
    assert made["description"].startswith(
        "Passed 10%, new on the desk · 87.70, high 100.00 21 sessions ago\n\nThe report"
    )
    assert {field["name"]: field["value"] for field in made["fields"]} == {
        "Your play": "Buy. Buy a first half now, the rest above the 50-day average.",
        "Size": "2–4% of the portfolio, $2,000–4,000",
        "Score": "Buy, grade B, 74 of 100",
        "Cause": "Its report (71% of the fall), temporary",
        "Next report": "In 58 sessions",
        "Market": "Environment B",
        "Evidence": "• Reported 2 sessions ago, 14% under the estimate\n• 3 articles name the report",
        "Risks": "• Margins keep shrinking\n• The sector is weak",
    }
    assert made["footer"]["text"] == "SIMULATED, a fictional company · Session 15 Mar 2024 · Words by the rules"
    assert "SIMULATED" in message([dip()])["content"]
    assert "SIMULATED" not in str(message([dip(world="real")]))


def test_what_is_told_of_a_fall():
    made = embed(fall())
    assert made["title"] == "AAA: down 6.2% from its last close"
    assert made["description"] == (
        "93.80, last close 100.00 · Seen 15 Mar 2024, 10:31 EDT (14:31 UTC)\n\n"
        "It was at 93.80 in the minute from 10:30 EDT, 6.2% below its last close of 100.00."
    )
    assert {field["name"]: field["value"] for field in made["fields"]} == {
        "Dip desk": "On it, 12.3% below its 52-week high the session before (Buy)",
        "Watchlist": "Not on it",
        "Bias": "Long before the open, 62% sure: Gap up on high volume",
    }
    assert made["footer"]["text"].endswith("Session 15 Mar 2024 · Seen by the price monitor, no advice to trade")
    assert message([fall()])["content"] == "**SIMULATED: AAA: down 6.2% from its last close, 15 Mar 2024**"
    assert "SIMULATED" not in str(message([fall(world="real")]))
    assert embed(fall(on_desk=None, watched=None, bias=None))["fields"] == []


def test_a_message_of_falls_is_headed_by_tickers_as_they_are():
    assert message([fall("A*B"), fall("C_D")])["content"].startswith(
        r"**SIMULATED: 2 names fell in the US session: A\*B, C\_D"
    )


def test_buy_wait_avoid_and_news_are_told_apart_by_colour():
    alerts = [*(dip(action=action) for action in ("buy", "wait", "avoid")), fall()]
    assert len({embed(alert)["color"] for alert in alerts}) == 4


def test_words_are_shown_as_they_are_and_never_as_links_or_mentions():
    made = embed(dip(why="*Buy* [now](https://evil.example) <@123> `x` # y"))
    assert made["description"].endswith(r"\*Buy\* \[now\](https://evil.example) \<@123\> \`x\` \# y")


def test_what_is_cut_says_so_and_cuts_no_sign_in_half():
    for sign in ("🙂", "*", "a"):
        value = next(field for field in embed(dip(risks=sign * 4000))["fields"] if field["name"] == "Risks")["value"]
        assert value.endswith("…")
        assert set(value) <= {"•", " ", "\\", sign, "…"}
        assert value.count("\\") == (value.count(sign) if sign == "*" else 0)


@pytest.mark.parametrize("address", ["", "discord.com/api/webhooks/1/x", "ftp://x/y", "https://", "https://[::1"])
def test_what_is_no_address_is_refused_without_repeating_it(address):
    with pytest.raises(SettingsError, match="DISCORD_WEBHOOK_URL") as raised:
        Discord(SecretStr(address))
    assert not address or address not in str(raised.value)


def test_the_fingerprint_tells_webhooks_apart_and_nothing_else():
    one, other = Discord(WEBHOOK), Discord(SecretStr(WEBHOOK.get_secret_value() + "x"))
    assert one.address == Discord(WEBHOOK).address != other.address
    assert TOKEN not in f"{one.address} {one!r}"
