"""send-batch-email: every outcome, one connection, and no mail twice when a run is killed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cloudq_tui.errors import LeaseLost, PermanentFailure, TemporaryFailure
from tasks.clients.smtp import LoginRefused, SmtpServer
from tasks.payloads import SendBatchEmail
from tasks.processors.email import send_batch_email


def batch(*recipients: str | list[str]) -> SendBatchEmail:
    mails = [{"to": to, "subject": f"Hi {number}", "text": "x"} for number, to in enumerate(recipients)]
    return SendBatchEmail.model_validate({"emails": mails})


def users(count: int) -> list[str]:
    return [f"user{number}@example.com" for number in range(count)]


def statuses(result: dict[str, Any]) -> list[str]:
    return [outcome["status"] for outcome in result["outcomes"]]


def test_all_sent_over_one_connection(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    result = send_batch_email(batch(*users(4)), job, server=server, files=files)
    assert (result["total"], result["sent"], result["failed"]) == (4, 4, 0)
    assert [to for (to,) in mailbox.recipients] == users(4)
    assert [message["message-id"] for message in mailbox.messages] == [
        f"<job-1.{number}@acme.example>" for number in range(4)
    ]
    assert len(mailbox.connections) == 1
    assert result["outcomes"][2]["to"] == "u***@example.com"
    assert job.progress == [
        (0, "0 of 4"), (25, "1 of 4"), (50, "2 of 4"), (75, "3 of 4"), (100, "4 of 4"),
    ]  # fmt: skip


def test_one_bad_address_never_stops_the_rest(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse["user1@example.com"] = "550 no such user"
    result = send_batch_email(batch(*users(3)), job, server=server, files=files)
    assert statuses(result) == ["sent", "failed", "sent"]
    assert result["outcomes"][1] == {
        "index": 1,
        "to": "u***@example.com",
        "status": "failed",
        "error": "550 no such user",
    }
    assert len(mailbox.connections) == 1


def test_an_unreadable_attachment_stops_only_its_mail(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    plain = {"to": "user@example.com", "subject": "x"}
    broken = plain | {"attachments": [{"filename": "x", "path": "/etc/passwd"}]}
    payload = SendBatchEmail.model_validate({"emails": [broken, plain]})
    result = send_batch_email(payload, job, server=server, files=files)
    assert statuses(result) == ["failed", "sent"]
    assert "outside email.attachment_roots" in result["outcomes"][0]["error"]


def test_none_sent_is_a_failure(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse |= dict.fromkeys(users(2), "550 no such user")
    with pytest.raises(PermanentFailure, match="none of 2 mails was sent: 550 no such user"):
        send_batch_email(batch(*users(2)), job, server=server, files=files)


def test_after_a_kill_only_the_rest_is_sent(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    job.die_after = 2
    with pytest.raises(LeaseLost):
        send_batch_email(batch(*users(5)), job, server=server, files=files)
    assert len(mailbox.envelopes) == 2
    result = send_batch_email(batch(*users(5)), job.again(), server=server, files=files)
    assert result["sent"] == 5
    assert [to for (to,) in mailbox.recipients] == users(5)


def test_the_mail_in_flight_goes_twice_at_most_and_under_one_message_id(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    store = job.checkpoint

    def die_at_the_third(data: Any) -> None:
        if len(job.checkpoints) == 2:
            raise KeyboardInterrupt
        store(data)

    job.checkpoint = die_at_the_third
    with pytest.raises(KeyboardInterrupt):
        send_batch_email(batch(*users(5)), job, server=server, files=files)
    send_batch_email(batch(*users(5)), job.again(), server=server, files=files)
    assert [to for (to,) in mailbox.recipients] == [*users(3), *users(5)[2:]]
    identities = [message["message-id"] for message in mailbox.messages]
    assert identities[2] == identities[3] == "<job-1.2@acme.example>"
    assert len(set(identities)) == 5


def test_greylisted_mails_are_tried_again_and_only_they(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    mailbox.refuse["user1@example.com"] = "451 try later"
    with pytest.raises(TemporaryFailure, match="1 of 3 mails to be tried again: 451 try later"):
        send_batch_email(batch(*users(3)), job, server=server, files=files)
    mailbox.refuse.clear()
    result = send_batch_email(batch(*users(3)), job.again(attempt=2, retries_left=2), server=server, files=files)
    assert statuses(result) == ["sent"] * 3
    assert [to for (to,) in mailbox.recipients] == [f"user{n}@example.com" for n in (0, 2, 1)]


def test_of_a_mail_for_several_only_who_was_put_off_gets_it_again(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.refuse = {"grey@example.com": "451 come back", "bad@example.com": "550 no such user"}
    mails = batch(["a@example.com", "grey@example.com", "bad@example.com"], "b@example.com")
    with pytest.raises(TemporaryFailure, match=r"1 of 2 mails .*: 1 of 3 recipients to be tried again: 451 come back"):
        send_batch_email(mails, job, server=server, files=files)
    last = send_batch_email(mails, job.again(retries_left=0), server=server, files=files)
    assert [(one["status"], one["accepted"], len(one["refused"])) for one in last["outcomes"]] == [
        ("sent", 1, 2),
        ("sent", 1, 0),
    ]
    del mailbox.refuse["grey@example.com"]
    result = send_batch_email(mails, job.again(), server=server, files=files)
    assert [(one["status"], one["accepted"], len(one["refused"])) for one in result["outcomes"]] == [
        ("sent", 2, 1),
        ("sent", 1, 0),
    ]
    assert mailbox.recipients == [["a@example.com"], ["b@example.com"], ["grey@example.com"]]


@pytest.mark.parametrize("answer", ["451 come back", "550 no such user"])
def test_a_batch_of_one_mail_that_went_out_in_part_has_not_failed(
    answer: str, server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.refuse["grey@example.com"] = "451 come back"
    mails = batch(["a@example.com", "grey@example.com"])
    with pytest.raises(TemporaryFailure, match="1 of 2 recipients"):
        send_batch_email(mails, job, server=server, files=files)
    mailbox.refuse["grey@example.com"] = answer
    result = send_batch_email(mails, job.again(retries_left=0), server=server, files=files)
    assert (result["sent"], result["outcomes"][0]["accepted"]) == (1, 1)
    assert mailbox.recipients == [["a@example.com"]]


def test_on_the_last_attempt_what_waits_counts_as_failed(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.refuse["user1@example.com"] = "451 try later"
    job.retries_left = 0
    result = send_batch_email(batch(*users(3)), job, server=server, files=files)
    assert statuses(result) == ["sent", "failed", "sent"]
    assert result["outcomes"][1]["error"] == "451 try later"


def test_a_server_that_closes_between_mails_is_connected_to_again(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    answers = iter([None, "drop", None, None, None])
    mailbox.on_data = lambda _: next(answers)
    result = send_batch_email(batch(*users(4)), job, server=server, files=files)
    assert statuses(result) == ["sent"] * 4
    assert len(mailbox.connections) == 2


def test_a_server_that_takes_three_mails_a_connection_gets_them_all_in_one_run(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    asked = itertools.count(1)
    mailbox.on_data = lambda _: None if next(asked) % 4 else "421 too many messages in this connection"
    result = send_batch_email(batch(*users(12)), job, server=server, files=files)
    assert statuses(result) == ["sent"] * 12
    assert [to for (to,) in mailbox.recipients] == users(12)
    assert len(mailbox.connections) == 4


def test_no_storm_of_connections_against_a_server_that_drops_all(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.on_data = lambda _: "drop"
    with pytest.raises(TemporaryFailure):
        send_batch_email(batch(*users(50)), job, server=server, files=files)
    assert len(mailbox.connections) == 2


def test_a_silent_server_costs_one_timeout_not_one_for_each_mail(files: Any, job: Any, silent_peer: Any) -> None:
    peer = silent_peer()
    server = SmtpServer("127.0.0.1", peer.port, tls="none", timeout=0.3, sender="a@acme.example")
    with pytest.raises(TemporaryFailure, match="timeout"):
        send_batch_email(batch(*users(50)), job, server=server, files=files)
    assert peer.connections == 1


def test_a_refused_login_stops_the_batch_as_the_error_it_is(secure_server: Any, files: Any, job: Any) -> None:
    from dataclasses import replace

    with pytest.raises(LoginRefused):
        send_batch_email(batch(*users(3)), job, server=replace(secure_server, password="no"), files=files)


def test_some_sent_and_then_the_server_is_away_for_good(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    job.retries_left = 0
    mailbox.on_data = lambda _: "drop" if mailbox.envelopes else None
    result = send_batch_email(batch(*users(5)), job, server=server, files=files)
    assert statuses(result) == ["sent", "failed", "failed", "failed", "failed"]


def test_what_failed_gets_another_chance_when_a_person_retries(
    server: SmtpServer, files: Any, mailbox: Any, job: Any
) -> None:
    mailbox.refuse |= dict.fromkeys(users(2), "550 no such user")
    with pytest.raises(PermanentFailure):
        send_batch_email(batch(*users(2)), job, server=server, files=files)
    mailbox.refuse.clear()
    assert send_batch_email(batch(*users(2)), job.again(), server=server, files=files)["sent"] == 2


def test_a_pause_between_mails(server: SmtpServer, files: Any, mailbox: Any, job: Any) -> None:
    import time

    began = time.monotonic()
    send_batch_email(batch(*users(3)), job, server=server, files=files, pause=0.1)
    assert time.monotonic() - began >= 0.2
