"""The sms queue over the sandbox and over providers that fail."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.errors import Deferred, PermanentFailure, TemporaryFailure
from tasks.clients.sms import ProviderDown, SandboxProvider, SmsGateway, Text
from tasks.payloads import SendBatchSms, SendSms, SendVerificationCode, parse_payload
from tasks.processors.sms import send_batch_sms, send_sms, send_verification_code

PHONE = "13800138000"


@dataclass
class Faulty:
    """Raises what it is given for a number, else sends."""

    faults: dict[str, Exception] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def send(self, text: Text, *, timeout: float) -> str:
        if text.phone in self.faults:
            raise self.faults[text.phone]
        self.sent.append(text.phone)
        return f"receipt-{len(self.sent)}"


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.jsonl"


@pytest.fixture
def gateway(outbox: Path) -> SmsGateway:
    missing = {"aliyun": "sms.providers.aliyun.access_key_id is not set"}
    return SmsGateway({"sandbox": SandboxProvider(outbox)}, missing, "sandbox", 10)


def lines(outbox: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outbox.read_text().splitlines()] if outbox.exists() else []


def text(phone: str | list[str] = PHONE, **more: Any) -> SendSms:
    return SendSms.model_validate({"phone": phone, "message": "Hello"} | more)


def code(**more: Any) -> SendVerificationCode:
    return SendVerificationCode.model_validate({"phone": PHONE, "code": "012345"} | more)


def faulty(**faults: Exception) -> tuple[Faulty, SmsGateway]:
    provider = Faulty({name.removeprefix("n"): fault for name, fault in faults.items()})
    return provider, SmsGateway({"sandbox": provider}, {}, "sandbox", 10)


def test_a_message_lands_in_the_outbox(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    result = send_sms(text(template="welcome", variables={"name": "Ann"}), job, gateway=gateway)
    (entry,) = lines(outbox)
    assert (entry["phone"], entry["message"], entry["template"]) == (PHONE, "Hello", "welcome")
    assert entry["variables"] == {"name": "Ann"}
    assert result["outcomes"] == [
        {"index": 0, "to": "138****8000", "status": "sent", "provider": "sandbox", "receipt": entry["id"]}
    ]
    assert job.progress[0] == (10, "validate")
    assert job.progress[-1] == (100, "record")
    assert outbox.stat().st_mode & 0o077 == 0


def test_an_outbox_that_cannot_be_written_is_temporary(tmp_path: Path, job: Any) -> None:
    gateway = SmsGateway({"sandbox": SandboxProvider(tmp_path / "no" / "where")}, {}, "sandbox", 10)
    with pytest.raises(TemporaryFailure, match="outbox"):
        send_sms(text(), job, gateway=gateway)


def test_a_provider_that_cannot_send_fails_at_once_and_takes_no_place(
    gateway: SmsGateway, outbox: Path, job: Any
) -> None:
    with pytest.raises(PermanentFailure, match=r"SMS provider aliyun: .*access_key_id is not set"):
        send_sms(text(provider="aliyun"), job, gateway=gateway)
    send_sms(text(), job.again(), gateway=gateway)
    assert len(lines(outbox)) == 1


def test_one_message_a_minute_per_number_however_it_is_written(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    send_sms(text(), job, gateway=gateway)
    with pytest.raises(Deferred) as raised:
        send_sms(text("+8613800138000"), job.again(id="job-2", last_checkpoint=None), gateway=gateway)
    assert 55 < raised.value.delay <= 60
    assert "one message a minute" in raised.value.reason
    assert len(lines(outbox)) == 1


def test_a_number_that_a_message_names_twice_gets_it_once(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    result = send_sms(text([PHONE, "+1 202 555 0100", f"+86{PHONE}", PHONE]), job, gateway=gateway)
    assert (result["total"], result["sent"]) == (2, 2)
    assert len(lines(outbox)) == 2


def test_after_the_minute_the_deferred_message_goes(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    send_sms(text(), job, gateway=gateway)
    now = time.time()
    job.limits.now = lambda: now + 61
    send_sms(text(), job.again(id="job-2", last_checkpoint=None), gateway=gateway)
    assert len(lines(outbox)) == 2


def test_the_providers_limit_defers_the_rest_of_a_batch(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    messages = [{"phone": f"138001380{n:02}", "message": "x"} for n in range(13)]
    payload = SendBatchSms.model_validate({"messages": messages})
    with pytest.raises(Deferred) as raised:
        send_batch_sms(payload, job, gateway=gateway)
    assert "10 messages a minute by sandbox" in raised.value.reason
    assert len(lines(outbox)) == 10
    later = time.time() + raised.value.delay
    job.limits.now = lambda: later
    result = send_batch_sms(payload, job.again(), gateway=gateway)
    assert (result["sent"], result["failed"]) == (13, 0)
    assert [entry["phone"] for entry in lines(outbox)] == [message["phone"] for message in messages]


def test_a_batch_goes_on_past_a_number_that_must_wait(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    messages = [{"phone": PHONE, "message": "x"}] * 2 + [{"phone": "13900139000", "message": "y"}]
    with pytest.raises(Deferred):
        send_batch_sms(SendBatchSms.model_validate({"messages": messages}), job, gateway=gateway)
    assert [entry["phone"] for entry in lines(outbox)] == [PHONE, "13900139000"]


def test_one_bad_number_never_stops_the_rest(job: Any) -> None:
    provider, gateway = faulty(n13800138001=PermanentFailure("no such number"))
    result = send_sms(text(["13800138000", "13800138001", "13800138002"]), job, gateway=gateway)
    assert [outcome["status"] for outcome in result["outcomes"]] == ["sent", "failed", "sent"]
    assert provider.sent == ["13800138000", "13800138002"]


def test_a_code_trips_only_its_own_message(job: Any) -> None:
    _, gateway = faulty(n13800138001=RuntimeError("bug for bob@example.com"))
    result = send_sms(text(["13800138000", "13800138001"]), job, gateway=gateway)
    assert result["outcomes"][1]["error"] == "RuntimeError: bug for b***@example.com"


def test_a_retry_does_not_wait_for_its_own_place(job: Any) -> None:
    provider, gateway = faulty(n13800138000=TemporaryFailure("503", retry_after=7))
    with pytest.raises(TemporaryFailure) as raised:
        send_sms(text(), job, gateway=gateway)
    assert raised.value.retry_after == 7
    provider.faults.clear()
    assert send_sms(text(), job.again(attempt=2), gateway=gateway)["sent"] == 1


def test_sent_messages_are_not_sent_again(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    send_sms(text(), job, gateway=gateway)
    send_sms(text(), job.again(), gateway=gateway)
    assert len(lines(outbox)) == 1


def test_the_codes_text_is_exact(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    result = send_verification_code(code(), job, gateway=gateway)
    (entry,) = lines(outbox)
    assert entry["message"] == "Your verification code is: 012345. Valid for 5 minutes."
    assert (entry["template"], entry["variables"]) == ("verification_code", {"code": "012345", "expiresIn": 5})
    assert "012345" not in json.dumps(result)
    assert job.progress == [(10, "validate"), (30, "send"), (80, "send"), (100, "record")]


def test_a_used_code_is_nobodys_to_read(gateway: SmsGateway, job: Any) -> None:
    send_verification_code(code(), job, gateway=gateway)
    assert "012345" not in json.dumps(job.scrubbed)
    again = parse_payload(SendVerificationCode, job.scrubbed)  # a run after a kill reads it, and sends nothing
    sent = send_verification_code(again, job.again(), gateway=gateway)
    assert sent == job.last_checkpoint["sent"]


def test_an_old_code_is_never_sent(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    with pytest.raises(PermanentFailure, match="expired: the code was valid for 5 minutes"):
        send_verification_code(code(expiresAt=int(time.time() * 1000) - 1), job, gateway=gateway)
    assert lines(outbox) == []
    assert job.limits.taken == {}


def test_a_code_that_is_still_good_is_sent(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    send_verification_code(code(expiresAt=int(time.time() * 1000) + 60_000), job, gateway=gateway)
    assert len(lines(outbox)) == 1


def test_codes_have_limits_of_their_own(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    for number in range(10):
        send_sms(text(f"138001380{number:02}"), job.again(id=f"o{number}"), gateway=gateway)
    send_verification_code(code(), job, gateway=gateway)
    with pytest.raises(Deferred, match="one code a minute per number"):
        send_verification_code(code(), job.again(id="job-2", last_checkpoint=None), gateway=gateway)
    assert len(lines(outbox)) == 11


def test_a_code_is_sent_once(gateway: SmsGateway, outbox: Path, job: Any) -> None:
    first = send_verification_code(code(), job, gateway=gateway)
    assert send_verification_code(code(), job.again(), gateway=gateway) == first
    assert len(lines(outbox)) == 1


def test_a_codes_retry_does_not_wait_for_its_own_place(job: Any) -> None:
    provider, gateway = faulty(n13800138000=TemporaryFailure("timeout"))
    with pytest.raises(TemporaryFailure):
        send_verification_code(code(), job, gateway=gateway)
    provider.faults.clear()
    assert send_verification_code(code(), job.again(attempt=2), gateway=gateway)["receipt"] == "receipt-1"


# --- one that is down ---------------------------------------------------------------------------------------
def pair(first: Exception | None, second: Exception | None = None) -> tuple[Faulty, Faulty, SmsGateway]:
    """aliyun, with tencent to go around it, each failing for PHONE as told."""
    aliyun, tencent = (Faulty({PHONE: fault} if fault else {}) for fault in (first, second))
    return aliyun, tencent, SmsGateway({"aliyun": aliyun, "tencent": tencent}, {}, "aliyun", 10, ("tencent",))


def test_a_provider_that_is_down_is_gone_around(job: Any) -> None:
    aliyun, tencent, gateway = pair(ProviderDown("timeout: aliyun"))
    result = send_sms(text([PHONE, "13900139000"]), job, gateway=gateway)
    assert [(one["status"], one["provider"]) for one in result["outcomes"]] == [("sent", "tencent")] * 2
    # The second number does not wait for aliyun's timeout again.
    assert (aliyun.sent, tencent.sent) == ([], [PHONE, "13900139000"])
    assert job.lines == ["not sent by aliyun: timeout: aliyun"]
    assert {key: len(at) for key, at in job.limits.taken.items() if key.startswith("provider:")} == {
        "provider:aliyun": 1,
        "provider:tencent": 2,
    }


def test_a_code_goes_around_too(job: Any) -> None:
    _, tencent, gateway = pair(ProviderDown("503"))
    assert send_verification_code(code(), job, gateway=gateway)["provider"] == "tencent"
    assert tencent.sent == [PHONE]


@pytest.mark.parametrize("second", [ProviderDown("503"), PermanentFailure("no template"), TemporaryFailure("429")])
def test_while_the_own_provider_is_down_nothing_is_final(job: Any, second: Exception) -> None:
    aliyun, _, gateway = pair(ProviderDown("timeout", retry_after=9), second)
    with pytest.raises(ProviderDown, match=f"timeout; {second}") as raised:
        send_sms(text(), job, gateway=gateway)
    assert raised.value.retry_after == 9
    aliyun.faults.clear()
    assert send_sms(text(), job.again(attempt=2), gateway=gateway)["outcomes"][0]["provider"] == "aliyun"


@pytest.mark.parametrize("fault", [PermanentFailure("no such number"), TemporaryFailure("429", retry_after=7)])
def test_what_a_working_provider_says_is_not_gone_around(job: Any, fault: Exception) -> None:
    _, tencent, gateway = pair(fault)
    with pytest.raises(type(fault), match=str(fault)):
        send_sms(text(), job, gateway=gateway)
    assert tencent.sent == []


def test_the_way_around_keeps_its_own_limit(job: Any) -> None:
    _, tencent, gateway = pair(ProviderDown("503"))
    for _ in range(10):
        job.limit("provider:tencent", 10, 60)
    with pytest.raises(Deferred, match="10 messages a minute by tencent"):
        send_sms(text(), job, gateway=gateway)
    assert tencent.sent == []


def test_one_without_credentials_fails_at_once_and_is_never_a_way_around(job: Any) -> None:
    tencent = Faulty()
    missing = {"aliyun": "sms.providers.aliyun.sign_name is not set"}
    gateway = SmsGateway({"tencent": tencent}, missing, "aliyun", 10, ("tencent",))
    with pytest.raises(PermanentFailure, match="sign_name is not set"):
        send_sms(text(), job, gateway=gateway)
    gateway = SmsGateway({"tencent": Faulty({PHONE: ProviderDown("503")})}, missing, "tencent", 10, ("aliyun",))
    with pytest.raises(ProviderDown, match=r"^503$"):
        send_sms(text(), job.again(id="job-2", last_checkpoint=None, limits=type(job.limits)()), gateway=gateway)
    assert tencent.sent == []
