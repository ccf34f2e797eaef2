"""From the outbox to a mail server over real SMTP: one digest a batch, secured and logged in as the settings say."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from pydantic import SecretStr

from trading_pipeline.alerts.delivery import deliver
from trading_pipeline.alerts.errors import MessageRefused, NotDelivered
from trading_pipeline.alerts.mail import Mail, digest
from trading_pipeline_tests.dip_alerts import PASSWORD, dip, fall

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
ANNA, BEN = "anna@example.org", "ben@example.org"


pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")


def mail_by(port, security="none", **more):
    how = {"sender": "Desk <desk@example.org>", "recipients": (ANNA, BEN), "timeout": 5.0, **more}
    return Mail(host="127.0.0.1", port=port, security=security, **how)


def put(outbox, *tickers, **changed):
    alerts = [dip(ticker, **changed).alert() for ticker in tickers]
    return outbox.enqueue(alerts, ["email"], now=NOW, due_at=NOW, expires_at=NOW + timedelta(days=3))


def rows(warehouse):
    return warehouse.query("SELECT * FROM alert_outbox ORDER BY ticker").to_dicts()


def test_all_new_dips_of_a_session_are_one_digest(serve, box, outbox, warehouse):
    put(outbox, "BBB", "AAA")
    put(outbox, "OLD", session=dip().session - timedelta(days=1))
    done = deliver(outbox, mail_by(serve()), lambda: NOW)
    assert (done.sent, done.problems) == (3, [])
    assert box.to == [[ANNA, BEN]] * 2
    subjects = {mail["Subject"]: mail for mail in box.mails}
    mail = subjects["SIMULATED: 2 new dips on the US dip desk, 15 Mar 2024"]
    assert (mail["From"], mail["To"]) == ("Desk <desk@example.org>", f"{ANNA}, {BEN}")
    assert mail["Date"].datetime == NOW
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@example.org>")
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for body in (text, html):
        assert body.index("AAA: 12.3% below") < body.index("BBB: 12.3% below")
        assert "SIMULATED" in body
        for words in ("2–4% of the portfolio, $2,000–4,000", "Buy a first half now", "Margins keep shrinking"):
            assert words in body
    assert [row["message_id"] for row in rows(warehouse)[:2]] == [mail["Message-ID"]] * 2
    assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 0


def test_falls_are_a_digest_of_their_own(serve, box, outbox):
    put(outbox, "AAA")
    falls = [fall("AAA"), fall("BBB", reference="session_high", action=None, on_desk=None, bias=None)]
    outbox.enqueue(
        [each.alert() for each in falls], ["email"], now=NOW, due_at=NOW, expires_at=NOW + timedelta(hours=1)
    )
    assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 3
    mail = next(mail for mail in box.mails if "fell" in mail["Subject"])
    assert mail["Subject"] == "SIMULATED: 2 names fell in the US session: AAA, BBB, 15 Mar 2024"
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for body in (text, unescape(html)):
        assert body.index("AAA: down 6.2% from its last close") < body.index("BBB: down 6.2% from the session's high")
        assert "Seen 15 Mar 2024, 10:31 EDT (14:31 UTC)" in body
        assert "Long before the open, 62% sure: Gap up on high volume" in body
        assert body.count("12.3% below its 52-week high the session before (Buy)") == 1
        assert "Your play" not in body


def test_words_are_no_markup_and_no_header(serve, box, outbox):
    evil = "<script>alert(1)</script>\r\nBcc: eve@example.org"
    put(outbox, "AAA", why=evil, play=evil, risks=evil, evidence=evil)
    assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 1
    assert "Bcc" not in box.mails[0]
    assert "<script>" not in box.mails[0].get_body(("html",)).get_content()
    assert "<script>alert(1)</script>" in box.mails[0].get_body(("plain",)).get_content()


def test_a_real_world_is_not_called_simulated():
    mail = digest([dip(world="real")], "desk@example.org", [ANNA], "ref", NOW)
    assert "SIMULATED" not in mail.as_string()


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_every_kind_of_security_with_and_without_a_login(serve, box, outbox, server_tls, trusting, security, login):
    put(outbox, "AAA")
    port = serve(**{security: server_tls} if security != "none" else {}, login=login)
    credentials = {"user": "desk", "password": SecretStr(PASSWORD)} if login else {}
    done = deliver(outbox, mail_by(port, security, tls=trusting, **credentials), lambda: NOW)
    assert (done.sent, done.problems) == (1, [])
    assert [(user, secret) for user, secret, _ in box.logins] == [("desk", PASSWORD)] * login
    if login and security == "starttls":
        assert box.logins[0][2], "the password comes after the handshake"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_that_cannot_prove_its_name_gets_neither_password_nor_mail(serve, box, outbox, server_tls, security):
    put(outbox, "AAA")
    port = serve(**{security: server_tls}, login=True)
    mail = mail_by(port, security, user="desk", password=SecretStr(PASSWORD))
    done = deliver(outbox, mail, lambda: NOW)
    assert (done.sent, done.postponed) == (0, 1)
    assert "certificate that is not trusted" in done.problems[0]
    assert (box.logins, box.mails) == ([], [])


def test_a_mail_tried_again_keeps_its_message_id_whatever_became_new_meanwhile(serve, box, outbox, warehouse):
    """So that mail readers show one where the first was accepted and its sender died before it could say so."""
    put(outbox, "AAA", "BBB")
    box.answers = ["451 try later"]
    mail = mail_by(serve())
    first = deliver(outbox, mail, lambda: NOW)
    assert first.postponed == 2
    batch = rows(warehouse)[0]["batch"]
    put(outbox, "CCC")
    assert deliver(outbox, mail, lambda: NOW + timedelta(minutes=1)).sent == 3
    ids = {
        len(sent.get_body(("plain",)).get_content().split("52-week high")) - 1: sent["Message-ID"] for sent in box.mails
    }
    assert ids[2] == f"<{batch}@example.org>"
    assert ids[1] != ids[2]


def test_a_farewell_that_fails_is_no_failure(serve, box, outbox):
    put(outbox, "AAA")
    box.farewell = "421 going down"
    assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 1
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("answers", "refused", "login", "kind", "words"),
    [
        (["554 spam"], {}, None, MessageRefused, "refuses the message (554)"),
        (["452 full"], {}, None, NotDelivered, "busy (452)"),
        ([], {ANNA: "550 unknown", BEN: "550 unknown"}, None, MessageRefused, "refuses every recipient (550)"),
        ([], {ANNA: "550 unknown", BEN: "450 grey"}, None, NotDelivered, "no recipient at the moment (450, 550)"),
        ([], {}, "wrong-password", MessageRefused, "refuses the login (535)"),
    ],
)
def test_what_the_server_says_decides_whether_it_is_tried_again(
    serve, box, outbox, warehouse, answers, refused, login, kind, words
):
    put(outbox, "AAA")
    box.answers, box.refused = answers, refused
    credentials = {"user": "desk", "password": SecretStr(login)} if login else {}
    done = deliver(outbox, mail_by(serve(login=bool(login)), **credentials), lambda: NOW)
    assert (done.sent, done.given_up, done.postponed) == (0, int(kind is MessageRefused), int(kind is NotDelivered))
    assert words in rows(warehouse)[0]["last_error"]
    put(outbox, "BBB")
    box.answers, box.refused = [], {}
    if not login:
        assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 1, "the next mail is tried as any"


def test_one_recipient_refused_is_remarked_and_the_others_have_it(serve, box, outbox, warehouse):
    put(outbox, "AAA")
    box.refused = {BEN: "550 unknown"}
    assert deliver(outbox, mail_by(serve()), lambda: NOW).sent == 1
    assert box.to == [[ANNA]]
    assert rows(warehouse)[0]["last_error"] == f"The mail server refused some recipients: {BEN} (550)"


def test_a_server_without_what_the_settings_ask_for_is_given_up(serve, outbox, warehouse):
    put(outbox, "AAA")
    assert deliver(outbox, mail_by(serve(), "starttls"), lambda: NOW).given_up == 1
    assert "Check SMTP_SECURITY" in rows(warehouse)[0]["last_error"]


def test_a_server_that_is_not_there_is_tried_again(outbox):
    put(outbox, "AAA")
    done = deliver(outbox, mail_by(1), lambda: NOW)
    assert done.postponed == 1
    assert done.problems == [
        "The mail server 127.0.0.1:1 could not be reached (ConnectionRefusedError). It is tried again."
    ]


def test_a_password_that_smtp_cannot_carry_is_said_without_repeating_it(serve, outbox, warehouse):
    """Python's own error about it holds the whole password."""
    put(outbox, "AAA")
    mail = mail_by(serve(login=True), user="desk", password=SecretStr("pässwort-nobody-may-see"))
    with pytest.raises(MessageRefused, match="outside ASCII") as raised:
        mail.send([dip()], "reference", NOW)
    assert raised.value.__cause__ is raised.value.__context__ is None
    assert deliver(outbox, mail, lambda: NOW).given_up == 1
    assert "nobody-may-see" not in f"{rows(warehouse)} {raised.value!r}"


@pytest.mark.parametrize("good", [True, False])
def test_the_password_is_in_no_log_no_error_and_no_row(serve, box, outbox, warehouse, everything_logged, good):
    secret = PASSWORD if good else "wr0ng-password-nobody-may-see"
    mail = mail_by(serve(login=True), user="desk", password=SecretStr(secret))
    put(outbox, "AAA")
    done = deliver(outbox, mail, lambda: NOW)
    assert done.sent == int(good)
    assert box.logins
    if not good:
        with pytest.raises(MessageRefused) as raised:
            mail.send([dip()], "reference", NOW)
        assert raised.value.__cause__ is raised.value.__context__ is None
        assert secret not in repr(raised.value)
    hidden = (
        secret,
        base64.b64encode(f"\0desk\0{secret}".encode()).decode(),
        base64.b64encode(secret.encode()).decode(),
    )
    # The server's own log is the server's business.
    logged = [record.getMessage() for record in everything_logged.records if record.name != "mail.log"]
    seen = f"{rows(warehouse)} {done} {mail!r} {logged}"
    assert not any(form in seen for form in hidden)
    assert mail.address != mail_by(1, user="desk", password=SecretStr("other")).address
