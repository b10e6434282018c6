"""The SMTP client against real servers, good and bad."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from tasks.clients import smtp as smtp_client
from tasks.clients.smtp import Delivery, LoginRefused, SmtpServer


def note(subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "a@acme.example"
    message["Subject"] = subject
    message.set_content("body")
    return message


def deliver(server: SmtpServer, *recipients: str, sender: str = "a@acme.example") -> Delivery:
    with server.session() as session:
        session.connect()
        return session.send(note(), sender, recipients or ("user@example.com",))


@pytest.mark.parametrize("kind", ["server", "secure_server", "tls_server"])
def test_a_mail_arrives(kind: str, mailbox: Any, request: pytest.FixtureRequest) -> None:
    delivery = deliver(request.getfixturevalue(kind))
    assert delivery == Delivery("2.0.0 accepted")
    assert mailbox.recipients == [["user@example.com"]]
    assert mailbox.messages[0]["subject"] == "Hello"


def test_one_connection_serves_many_mails(server: SmtpServer, mailbox: Any) -> None:
    with server.session() as session:
        for number in range(5):
            session.connect()
            session.send(note(str(number)), "a@acme.example", ["user@example.com"])
    assert len(mailbox.envelopes) == 5
    assert len(mailbox.connections) == 1


def test_a_refused_login_is_an_ordinary_error(secure_server: SmtpServer) -> None:
    with pytest.raises(LoginRefused) as raised:
        deliver(replace(secure_server, password="wrong"))
    assert type(raised.value).__name__ == "SMTPAuthenticationError"
    assert raised.value.code == 535
    assert "wrong" not in str(raised.value)


def test_an_unknown_authority_is_named_with_its_setting(secure_server: SmtpServer) -> None:
    with pytest.raises(PermanentFailure, match=r"certificate of 127\.0\.0\.1:\d+ not trusted.*smtp\.ca_file"):
        deliver(replace(secure_server, ca_file=None))


def test_an_unknown_authority_over_tls_is_named_too(tls_server: SmtpServer) -> None:
    with pytest.raises(PermanentFailure, match="not trusted"):
        deliver(replace(tls_server, ca_file=None))


def test_a_server_without_starttls_is_refused(server: SmtpServer) -> None:
    with pytest.raises(PermanentFailure, match=r"offers no STARTTLS: set smtp\.tls"):
        deliver(replace(server, tls="starttls"))


def test_a_server_without_login_is_told_apart_from_one_without_encryption(server: SmtpServer) -> None:
    with pytest.raises(PermanentFailure, match=r"offers no login on this connection: set smtp\.tls"):
        deliver(replace(server, username="u", password="x"))


def test_a_missing_ca_file_is_named(server: SmtpServer, tmp_path: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"smtp\.ca_file cannot be read"):
        deliver(replace(server, tls="tls", ca_file=tmp_path / "none.pem"))


def test_no_host_names_the_setting() -> None:
    with pytest.raises(PermanentFailure, match=r"smtp\.host is not set"):
        deliver(SmtpServer(""))


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(TemporaryFailure, match=rf"cannot reach 127\.0\.0\.1:{port}"):
            deliver(SmtpServer("127.0.0.1", port, tls="none"))


@pytest.mark.parametrize(
    ("tls", "greeting"),
    [
        ("none", b""),
        ("none", b"220 ready\r\n"),
        ("tls", b""),
        ("starttls", b"220 ready\r\n"),
        ("starttls", b"220 ready\r\n250-me\r\n250 STARTTLS\r\n220 go\r\n"),
    ],
)
def test_a_silent_peer_ends_as_timeout(tls: Any, greeting: bytes, silent_peer: Any) -> None:
    peer = silent_peer(greeting)
    began = time.monotonic()
    with pytest.raises(TemporaryFailure) as raised:
        deliver(SmtpServer("127.0.0.1", peer.port, tls=tls, timeout=0.4))
    assert str(raised.value) == f"timeout: 127.0.0.1:{peer.port} (0.4s)"
    assert time.monotonic() - began < 1.4


def test_the_jobs_own_time_bounds_every_wait(silent_peer: Any) -> None:
    peer = silent_peer()
    began = time.monotonic()
    server = SmtpServer("127.0.0.1", peer.port, tls="none", timeout=30)
    with server.session(lambda: 0.3) as session, pytest.raises(TemporaryFailure, match="timeout"):
        session.connect()
    assert time.monotonic() - began < 1.3


def test_a_hanging_name_lookup_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: Any, **__: Any) -> Any:
        time.sleep(2)
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    began = time.monotonic()
    with pytest.raises(TemporaryFailure, match=r"timeout: mail\.example:25"):
        deliver(SmtpServer("mail.example", 25, tls="none", timeout=0.3))
    assert time.monotonic() - began < 1.3


def test_a_server_that_forgets_to_say_goodbye_does_not_undo_the_mail(
    server: SmtpServer, mailbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_client, "GOODBYE", 0.1)

    async def never(*_: Any) -> str:
        import asyncio

        await asyncio.sleep(1)
        return "221 bye"

    mailbox.handle_QUIT = never
    began = time.monotonic()
    deliver(server)
    assert time.monotonic() - began < 0.9


def test_some_recipients_refused_are_reported(server: SmtpServer, mailbox: Any) -> None:
    mailbox.refuse["bad@example.com"] = "550 5.1.1 <bad@example.com> no such user"
    delivery = deliver(server, "good@example.com", "bad@example.com")
    assert delivery.refused == (("bad@example.com", 550, "5.1.1 <b***@example.com> no such user"),)
    assert mailbox.recipients == [["good@example.com"]]


def test_all_recipients_refused_for_good(server: SmtpServer, mailbox: Any) -> None:
    mailbox.refuse["bad@example.com"] = "550 no such user"
    with pytest.raises(PermanentFailure, match="550 no such user"):
        deliver(server, "bad@example.com")


def test_greylisting_is_temporary(server: SmtpServer, mailbox: Any) -> None:
    mailbox.refuse |= {"bad@example.com": "550 no", "grey@example.com": "451 4.7.1 try again later"}
    with pytest.raises(TemporaryFailure, match=r"451 4\.7\.1 try again later"):
        deliver(server, "bad@example.com", "grey@example.com")


@pytest.mark.parametrize(("answer", "kind"), [("452 disk full", TemporaryFailure), ("554 spam", PermanentFailure)])
def test_the_answer_to_data_decides(answer: str, kind: type[Exception], server: SmtpServer, mailbox: Any) -> None:
    mailbox.on_data = lambda _: answer
    with pytest.raises(kind, match=answer):
        deliver(server)


def test_a_lost_connection_is_temporary_and_known(server: SmtpServer, mailbox: Any) -> None:
    mailbox.on_data = lambda _: "drop"
    with server.session() as session:
        session.connect()
        with pytest.raises(TemporaryFailure, match="cannot reach"):
            session.send(note(), "a@acme.example", ["user@example.com"])
        assert not session.connected
        mailbox.on_data = lambda _: None
        session.connect()
        session.send(note(), "a@acme.example", ["user@example.com"])
    assert len(mailbox.envelopes) == 1


def test_international_addresses_where_the_server_takes_them(server: SmtpServer, mailbox: Any) -> None:
    assert deliver(server, "用户@example.com").refused == ()
    assert mailbox.recipients == [["用户@example.com"]]


def test_international_addresses_where_it_does_not(ascii_server: SmtpServer) -> None:
    with pytest.raises(PermanentFailure, match="SMTPUTF8"):
        deliver(ascii_server, "用户@example.com")


def test_the_password_shows_in_no_repr(secure_server: SmtpServer) -> None:
    assert "s3cret" not in repr(secure_server)
