"""send-email and send-scheduled-email: what arrives, and what a second run does."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudq_tui.errors import Cancelled, Deferred, InvalidPayload, PermanentFailure, TemporaryFailure
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import SmtpServer
from tasks.mail import compose
from tasks.payloads import SendEmail, SendScheduledEmail, parse_payload
from tasks.processors.email import send_email, send_scheduled_email


def mail(**fields: Any) -> SendEmail:
    return SendEmail.model_validate({"to": "user@example.com", "subject": "Welcome"} | fields)


def test_both_bodies_copies_and_headers(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    payload = mail(
        to=["Ann Lee <ann@example.com>", "bob@example.com"],
        cc="carol@example.com",
        bcc=["dave@example.com", "ann@example.com"],
        subject="Grüße 你好",
        html="<p>Hällo</p>",
        text="Hällo",
    )
    result = send_email(payload, job, server=server, files=files)
    (message,) = mailbox.messages
    assert mailbox.recipients == [["ann@example.com", "bob@example.com", "carol@example.com", "dave@example.com"]]
    assert mailbox.envelopes[0].mail_from == "no-reply@acme.example"
    assert message["from"] == "Acme <no-reply@acme.example>"
    assert message["to"] == "Ann Lee <ann@example.com>, bob@example.com"
    assert message["cc"] == "carol@example.com"
    assert message["subject"] == "Grüße 你好"
    assert "bcc" not in message
    assert b"dave" not in mailbox.envelopes[0].content
    assert abs(parsedate_to_datetime(message["date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert message["message-id"] == result["messageId"] == "<job-1.0@acme.example>"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in message.iter_parts()] == ["Hällo", "<p>Hällo</p>"]
    assert (result["accepted"], result["refused"]) == (4, [])


# What header syntax is made of: quoting, encoded words, parameters of RFC 2231, escaped line breaks.
PIECES = ["=?", "?=", "utf-8", "?q?", "DQpCY2M6eA", "''", "%0D%0A", "*=", "filename", "=?utf-8?q?=0D=0ABcc:_x", "=0A?="]
HEADER = st.lists(st.sampled_from([*PIECES, *' "<>,;:()@=?ab\u00e9']), max_size=12).map("".join)


@given(subject=HEADER, name=HEADER, other=HEADER, filename=HEADER)
@example(subject="2+2=?", name="a", other="b", filename="=?utf-8?q?a")
def test_no_text_becomes_a_header(subject: str, name: str, other: str, filename: str) -> None:
    fields = {
        "to": [f"{name} <a@example.com>", f"{other} <b@example.com>"],
        "subject": subject,
        "text": "x",
        "from": "c@example.com",
        "attachments": [{"filename": filename or "x", "content": "x"}],
    }
    try:
        payload = parse_payload(SendEmail, fields)
    except InvalidPayload:
        return
    message = compose(payload, job_id="1", index=0, default_sender="", read=lambda _: b"").message
    head, *parts = bytes(message).split(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.splitlines() if line[:1] not in b" \t"]
    assert names == [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version", b"Content-Type"]
    attached = parts[-3].splitlines()[1:]
    names = [line.partition(b":")[0] for line in attached if line[:1] not in b" \t"]
    assert set(names) == {b"Content-Type", b"Content-Transfer-Encoding", b"Content-Disposition", b"MIME-Version"}


def test_steps_and_percentages(server: SmtpServer, files: Any, job: Any) -> None:
    send_email(mail(text="x"), job, server=server, files=files)
    assert job.progress == [(10, "validate"), (30, "send"), (80, "send"), (100, "record")]


def test_the_payloads_sender_wins(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    result = send_email(
        mail(**{"from": "Shop <shop@bücher.example>"}, html="<b>x</b>"), job, server=server, files=files
    )
    assert mailbox.envelopes[0].mail_from == "shop@xn--bcher-kva.example"
    assert mailbox.messages[0].get_content_type() == "text/html"
    assert result["messageId"].endswith("@xn--bcher-kva.example>")


def test_international_addresses(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    send_email(mail(to="用户@例子.cn", text="x"), job, server=server, files=files)
    assert mailbox.recipients == [["用户@xn--fsqu00a.cn"]]
    assert "用户@xn--fsqu00a.cn" in mailbox.envelopes[0].content.decode()


def test_an_international_domain_needs_no_smtputf8(ascii_server: Any, files: Any, mailbox: Any, job: Any) -> None:
    send_email(mail(to="user@例子.cn", text="x"), job, server=ascii_server, files=files)
    assert mailbox.recipients == [["user@xn--fsqu00a.cn"]]


def test_attachments_from_path_and_content(
    server: SmtpServer, files: AttachmentFiles, mailbox: Any, job: Any, tmp_path: Path
) -> None:
    path = tmp_path / "attachments" / "deep" / "data.csv"
    path.parent.mkdir()
    path.write_bytes(b"a,b\n1,2\n")
    attachments = [
        {"filename": "data.csv", "path": str(path)},
        {"filename": "bild-ü.png", "content": base64.b64encode(b"\x89PNG\0").decode(), "encoding": "base64"},
        {"filename": "notes.txt", "content": "plain ünicode"},
        {"filename": "logs.tar.gz", "content": "AAAA", "encoding": "base64"},
    ]
    send_email(mail(text="see files", attachments=attachments), job, server=server, files=files)
    (message,) = mailbox.messages
    found = [(p.get_filename(), p.get_content_type()) for p in message.iter_attachments()]
    assert found == [
        ("data.csv", "text/csv"),
        ("bild-ü.png", "image/png"),
        ("notes.txt", "text/plain"),
        ("logs.tar.gz", "application/octet-stream"),
    ]
    contents = [p.get_payload(decode=True) for p in message.iter_attachments()]
    assert contents == [b"a,b\n1,2\n", b"\x89PNG\0", "plain ünicode".encode(), b"\0\0\0"]


def test_many_small_attachments_do_not_pass_for_one(
    server: SmtpServer, files: AttachmentFiles, mailbox: Any, job: Any, tmp_path: Path
) -> None:
    path = tmp_path / "attachments" / "half"
    path.write_bytes(b"x" * 600)
    both = [{"filename": "a", "path": str(path)}, {"filename": "b", "content": "y" * 600}]
    with pytest.raises(PermanentFailure, match=r"email\.max_attachment_size \(1000 bytes\) together"):
        send_email(mail(text="x", attachments=both), job, server=server, files=files)
    assert mailbox.envelopes == []


def test_a_sent_mail_is_not_sent_by_the_next_run(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    first = send_email(mail(text="x"), job, server=server, files=files)
    again = job.again()
    assert send_email(mail(text="x"), again, server=server, files=files) == first
    assert len(mailbox.envelopes) == 1
    assert again.progress[-1] == (100, "record")


def test_a_run_that_died_before_its_checkpoint_repeats_under_the_same_message_id(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    def die(_: Any) -> None:
        raise KeyboardInterrupt

    job.checkpoint = die
    with pytest.raises(KeyboardInterrupt):
        send_email(mail(text="x"), job, server=server, files=files)
    send_email(mail(text="x"), job.again(), server=server, files=files)
    assert {message["message-id"] for message in mailbox.messages} == {"<job-1.0@acme.example>"}
    assert len(mailbox.messages) == 2


def test_odd_job_ids_make_sound_message_ids(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    job.id = "order:7@shop..x"
    send_email(mail(text="x"), job, server=server, files=files)
    assert mailbox.messages[0]["message-id"] == "<order%3A7%40shop%2E%2Ex.0@acme.example>"


def test_some_recipients_refused(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse["bad@example.com"] = "550 no such user"
    result = send_email(mail(to=["a@example.com", "bad@example.com"]), job, server=server, files=files)
    assert result["accepted"] == 1
    assert result["refused"] == [{"to": "b***@example.com", "code": 550, "error": "no such user"}]


def test_only_who_was_put_off_gets_it_again(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse = {"grey@example.com": "451 come back", "bad@example.com": "550 no such user"}
    payload = mail(to=["a@example.com", "bad@example.com"], bcc="grey@example.com")
    with pytest.raises(TemporaryFailure, match=r"^1 of 3 recipients to be tried again: 451 come back$"):
        send_email(payload, job, server=server, files=files)
    again = job.again()
    with pytest.raises(TemporaryFailure, match="451 come back"):
        send_email(payload, again, server=server, files=files)
    del mailbox.refuse["grey@example.com"]
    result = send_email(payload, again.again(), server=server, files=files)
    assert mailbox.recipients == [["a@example.com"], ["grey@example.com"]]
    assert {message["message-id"] for message in mailbox.messages} == {result["messageId"]}
    assert result["accepted"] == 2
    assert result["refused"] == [{"to": "b***@example.com", "code": 550, "error": "no such user"}]


@pytest.mark.parametrize("answer", ["451 come back", "550 no such user"])
def test_who_was_put_off_to_the_last_counts_as_refused(
    answer: str, server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.refuse["grey@example.com"] = "451 come back"
    payload = mail(to=["a@example.com", "grey@example.com"])
    with pytest.raises(TemporaryFailure):
        send_email(payload, job, server=server, files=files)
    mailbox.refuse["grey@example.com"] = answer
    result = send_email(payload, job.again(retries_left=0), server=server, files=files)
    assert (result["accepted"], [one["to"] for one in result["refused"]]) == (1, ["g***@example.com"])
    assert len(mailbox.envelopes) == 1


def test_a_bad_address_fails_at_once(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse["user@example.com"] = "550 no such user"
    with pytest.raises(PermanentFailure, match="550 no such user"):
        send_email(mail(), job, server=server, files=files)
    assert job.last_checkpoint is None


def test_a_timeout_is_temporary(files: Any, job: Any, silent_peer: Any) -> None:
    peer = silent_peer()
    server = SmtpServer("127.0.0.1", peer.port, tls="none", timeout=0.3, sender="a@acme.example")
    with pytest.raises(TemporaryFailure, match=r"^timeout: 127\.0\.0\.1:\d+ \(0\.3s\)$"):
        send_email(mail(), job, server=server, files=files)


def test_no_sender_names_the_setting(server: SmtpServer, files: Any, job: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"smtp\.from"):
        send_email(mail(), job, server=SmtpServer("127.0.0.1"), files=files)


def test_cancelled_before_sending_sends_nothing(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    job.cancelled = True
    with pytest.raises(Cancelled):
        send_email(mail(), job, server=server, files=files)
    assert mailbox.envelopes == []


def test_cancelled_while_sending_tells_the_truth(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.on_data = lambda _: setattr(job, "cancelled", True)
    assert send_email(mail(), job, server=server, files=files)["accepted"] == 1


def test_logs_name_no_recipient(server: SmtpServer, files: Any, job: Any) -> None:
    send_email(mail(), job, server=server, files=files)
    assert len(job.lines) == 2
    assert "user@" not in " ".join(job.lines)


def scheduled(at: datetime) -> SendScheduledEmail:
    return SendScheduledEmail.model_validate(
        {"to": "user@example.com", "subject": "Later", "scheduledTime": at.isoformat()}
    )


def test_a_scheduled_mail_goes_out_when_its_time_has_come(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    send_scheduled_email(scheduled(datetime.now(UTC) - timedelta(days=1)), job, server=server, files=files)
    assert len(mailbox.envelopes) == 1


def test_a_scheduled_mail_started_too_early_is_put_off(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    with pytest.raises(Deferred) as raised:
        send_scheduled_email(scheduled(datetime.now(UTC) + timedelta(hours=1)), job, server=server, files=files)
    assert 3590 < raised.value.delay <= 3600
    assert mailbox.envelopes == []
