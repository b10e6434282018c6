"""Payloads: what is accepted, how it is written, and what a refusal says."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cloudq_tui.errors import InvalidPayload, SettingsError
from tasks.catalog import definitions
from tasks.contacts import parse_mailbox, phone_key
from tasks.payloads import (
    SendBatchEmail,
    SendBatchNotification,
    SendBatchSms,
    SendEmail,
    SendScheduledEmail,
    SendSms,
    SendVerificationCode,
    dump_payload,
    parse_payload,
)
from tasks.queues.job import PlatformJob
from tasks.settings import EmailSettings, PlatformSettings, load_platform_settings

MAIL = {"to": "user@example.com", "subject": "Hi"}
SMS = {"phone": "13800138000", "message": "Hi"}
CODE = {"phone": "13800138000", "code": "012345"}


def refusal(model: type[BaseModel], data: Any) -> tuple[str, str]:
    with pytest.raises(InvalidPayload) as raised:
        parse_payload(model, data, job="a-job")
    assert str(raised.value).startswith(f"a-job: {raised.value.field}: ")
    return raised.value.field, raised.value.reason


def job(name: str, **settings: Any) -> PlatformJob:
    return next(one for one in definitions(PlatformSettings(**settings)) if one.name == name)


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"to": "nobody"}, "to", "is not an address: no @"),
        ({"to": ["a@example.com", "b@"]}, "to.1", "is not an address: the domain is not valid"),
        ({"to": []}, "to", "List should have at least 1 item"),
        ({"to": 7}, "to", "Input should be a valid string"),
        ({"to": "a@example"}, "to", "is not an address: the domain has no dot"),
        ({"to": "a b@example.com"}, "to", "is not an address: a letter before @ is not allowed"),
        ({"to": "a..b@example.com"}, "to", "misplaced dot"),
        ({"to": "a@-example.com"}, "to", "the domain is not valid"),
        ({"to": "a@stra\u00dfe.de"}, "to", "xn-- form"),
        ({"to": "a@example.com\r\nBcc: evil@example.com"}, "to", "line breaks"),
        ({"to": "Ann\n <a@example.com>"}, "to", "line breaks"),
        ({"cc": "a@example.com\x00"}, "cc", "line breaks or control characters"),
        ({"from": "a@example.com>\r\nX: y"}, "from", "line breaks"),
        ({"subject": "Hi\r\nBcc: evil@example.com"}, "subject", "line breaks"),
        ({"subject": "Hi\u2028there"}, "subject", "line breaks"),
        ({"subject": "=?utf-8?q?Hi=0D=0ABcc:_evil@example.com?="}, "subject", "encoded word"),
        ({"to": "=?utf-8?q?=0ABcc:_x?= <a@example.com>"}, "to", "encoded word"),
        ({"to": "=?utf-8?q?=0ABcc:x?=@example.com"}, "to", "encoded word"),
        ({"cc": ["=?utf-8?q?=0ABcc:x <a@example.com>", "x?= <b@example.com>"]}, "cc.0", "encoded word"),
        ({"attachments": [{"filename": "=?utf-8?q?=0AX:_y?=", "content": "a"}]}, "attachments.0.filename", "encoded"),
        ({"subject": None}, "subject", "Input should be a valid string"),
        ({"subject": "\ud800"}, "subject", "unicode"),
        ({"html": "\ud800"}, "html", "valid Unicode"),
        ({"body": "x"}, "body", "is not a field of this job"),
        ({"html": 5}, "html", "Input should be a valid string"),
        ({"attachments": [{"filename": "x"}]}, "attachments.0", "exactly one of path and content"),
        ({"attachments": [{"filename": "x", "path": "/a", "content": "b"}]}, "attachments.0", "exactly one of"),
        ({"attachments": [{"filename": "x", "content": "%", "encoding": "base64"}]}, "attachments.0", "base64"),
        ({"attachments": [{"filename": "x", "path": "/a", "encoding": "base64"}]}, "attachments.0", "encoding"),
        ({"attachments": [{"filename": "../x", "content": "a"}]}, "attachments.0.filename", "plain file name"),
        ({"attachments": [{"filename": "x\r\ny", "content": "a"}]}, "attachments.0.filename", "line breaks"),
        (
            {"attachments": [{"filename": "x", "content": "a", "encoding": "hex"}]},
            "attachments.0.encoding",
            "base64",
        ),
    ],
)
def test_a_mail_is_refused_with_field_and_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    found_field, found_reason = refusal(SendEmail, MAIL | changes)
    assert found_field == field
    assert reason in found_reason


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com",
        "first.last+tag@sub.example.co.uk",
        "Ann Lee <ann@example.com>",
        '"Lee, Ann" <ann@example.com>',
        "root@localhost",
        "用户@例子.cn",
        "o'brien@example.com",
    ],
)
def test_addresses_that_are_fine(text: str) -> None:
    assert dump_payload(parse_payload(SendEmail, MAIL | {"to": text}))["to"] == text


def test_a_domain_is_written_in_ascii() -> None:
    box = parse_mailbox("Käthe <käthe@bücher.example>")
    assert (box.name, box.address) == ("Käthe", "käthe@xn--bcher-kva.example")


def test_a_batch_counts_whom_it_is_for() -> None:
    phones = [f"+861380013{n:04}" for n in range(1000)]
    full = {"messages": [{"phone": phones, "message": "x"}]}
    assert parse_payload(SendBatchSms, full)
    full["messages"].append({"phone": "13800138000", "message": "x"})
    field, reason = refusal(SendBatchSms, full)
    assert (field, "1001 numbers in all" in reason) == ("messages", True)
    many = {"notifications": [{"targets": [f"t{n}" for n in range(100)], "body": "x"}] * 11}
    field, reason = refusal(SendBatchNotification, many)
    assert (field, "1100 targets in all" in reason) == ("notifications", True)


@given(st.text(max_size=40))
def test_no_accepted_address_can_start_another_header(text: str) -> None:
    try:
        box = parse_mailbox(f"{text}@example.com")
    except ValueError:
        return
    assert len(str(box.header()).splitlines()) == 1
    assert not any(letter.isspace() for letter in box.address)


def test_both_spellings_are_accepted_and_camel_case_is_written() -> None:
    given_fields = MAIL | {"from_": "a@example.com"}
    assert dump_payload(parse_payload(SendEmail, given_fields)) == MAIL | {"from": "a@example.com"}
    for key in ("expiresIn", "expires_in"):
        assert dump_payload(parse_payload(SendVerificationCode, CODE | {key: 7})) == CODE | {"expiresIn": 7}


def test_what_is_stored_reads_back_the_same() -> None:
    when = datetime(2030, 1, 2, 3, 4, tzinfo=ZoneInfo("Asia/Shanghai"))
    payload = parse_payload(SendScheduledEmail, MAIL | {"scheduledTime": when})
    stored = json.loads(json.dumps(dump_payload(payload)))
    assert stored["scheduledTime"] == "2030-01-02T03:04:00+08:00"
    assert parse_payload(SendScheduledEmail, stored) == payload


def test_a_reason_never_repeats_the_value() -> None:
    refused: list[tuple[type[BaseModel], dict[str, Any]]] = [
        (SendEmail, MAIL | {"to": "secret-person"}),
        (SendSms, SMS | {"phone": "5551234567"}),
        (SendVerificationCode, CODE | {"code": "98 76 54"}),
    ]
    for model, data in refused:
        field, reason = refusal(model, data)
        assert str(data[field]) not in reason


def test_a_batch_names_the_mail() -> None:
    field, _ = refusal(SendBatchEmail, {"emails": [MAIL, MAIL | {"to": ["x@example.com", "y"]}]})
    assert field == "emails.1.to.1"


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_only_objects(data: Any) -> None:
    assert refusal(SendEmail, data) == ("payload", "must be an object with named fields")


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"phone": "12345"}, "phone", "is not a phone number"),
        ({"phone": ["13800138000", "+0123456789"]}, "phone.1", "is not a phone number"),
        ({"phone": 13800138000}, "phone", "valid string"),
        ({"message": ""}, "message", "at least 1 character"),
        ({"provider": "pigeon"}, "provider", "'aliyun', 'tencent', 'twilio' or 'sandbox'"),
        ({"variables": {"n": [1]}}, "variables.n", "valid"),
        ({"variables": {"n": "\ud800"}}, "variables", "valid Unicode"),
        ({"variables": {"n": float("nan")}}, "variables.n", "valid"),
        ({"sender": "x"}, "sender", "is not a field of this job"),
    ],
)
def test_a_message_is_refused_with_field_and_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    found_field, found_reason = refusal(SendSms, SMS | changes)
    assert found_field == field
    assert reason in found_reason


def test_phones_lose_their_separators_and_share_a_key() -> None:
    assert dump_payload(parse_payload(SendSms, SMS | {"phone": "138-0013 8000"}))["phone"] == "13800138000"
    assert phone_key("13800138000") == phone_key("+8613800138000")
    assert "13800138000" not in phone_key("13800138000")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"code": 12345}, "code"),
        ({"code": "1 2"}, "code"),
        ({"expiresIn": 0}, "expiresIn"),
        ({"expiresIn": "5"}, "expiresIn"),
    ],
)
def test_a_code_is_refused(changes: dict[str, Any], field: str) -> None:
    assert refusal(SendVerificationCode, CODE | changes)[0] == field


def test_a_code_gets_its_expiry_when_it_is_enqueued() -> None:
    before = int(time.time() * 1000)
    data = job("send-verification-code").check(CODE | {"expiresIn": 2})
    assert before + 120_000 <= data["expiresAt"] <= int(time.time() * 1000) + 120_000
    assert job("send-verification-code").check(data) == data


@pytest.mark.parametrize("name", ["send-email", "send-scheduled-email", "send-batch-email"])
def test_too_many_recipients_are_sent_to_the_batch_call(name: str) -> None:
    mail = {"to": ["a@example.com", "b@example.com"], "cc": "c@example.com", "subject": "Hi"}
    data = {"emails": [mail]} if "batch" in name else mail
    if "scheduled" in name:
        data = mail | {"scheduledTime": "2030-01-01T00:00:00Z"}
    limited = job(name, email=EmailSettings(max_recipients=2))
    with pytest.raises(InvalidPayload, match=r"3 recipients.*at most 2 \(email\.max_recipients\).*send_batch_email"):
        limited.check(data)
    assert job(name).check(data)


@pytest.mark.parametrize(
    ("given_time", "stored"),
    [
        ("2030-06-01T12:00:00Z", "2030-06-01T12:00:00Z"),
        ("2030-06-01T12:00:00", "2030-06-01T12:00:00+02:00"),
        (datetime(2030, 1, 1, 12), "2030-01-01T12:00:00+01:00"),  # noqa: DTZ001 - without a zone on purpose
        (datetime(2030, 1, 1, 12, tzinfo=UTC), "2030-01-01T12:00:00Z"),
    ],
)
def test_a_time_without_zone_is_in_the_settings_zone(given_time: Any, stored: str) -> None:
    berlin = job("send-scheduled-email", timezone="Europe/Berlin")
    assert berlin.check(MAIL | {"scheduledTime": given_time})["scheduledTime"] == stored


@pytest.mark.parametrize("value", ["tomorrow", 1700000000, "2030-13-01T00:00:00"])
def test_a_time_that_is_none(value: Any) -> None:
    field, _ = refusal(SendScheduledEmail, MAIL | {"scheduledTime": value})
    assert field == "scheduledTime"


def test_schemas_carry_wire_names_and_docs() -> None:
    for definition in definitions(PlatformSettings()):
        schema = definition.schema()
        json.dumps(schema)
        assert schema["additionalProperties"] is False
        assert all(field.get("description") or "$ref" in field for field in schema["properties"].values())
    assert "from" in job("send-email").schema()["properties"]


def test_priorities_are_the_platforms() -> None:
    expected = {
        "send-email": 5,
        "send-batch-email": 7,
        "send-scheduled-email": 5,
        "send-sms": 5,
        "send-batch-sms": 7,
        "send-verification-code": 1,
        "send-notification": 5,
        "send-batch-notification": 5,
    }
    found = {one.name: one.priority for one in definitions(PlatformSettings())}
    assert {name: found[name] for name in expected} == expected


def test_settings_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("smtp: {host: mail.example, from: a@example.com}\nemail: {attachment_roots: [/srv/files]}\n")
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDQ_SMTP__HOST", "other.example")
    monkeypatch.setenv("CLOUDQ_SMTP__PASSWORD_FILE", str(secret))
    monkeypatch.setenv("CLOUDQ_SMS__PROVIDERS__SANDBOX__OUTBOX", "/tmp/outbox")
    settings = load_platform_settings(config)
    assert (settings.smtp.host, settings.smtp.from_, settings.smtp.secret()) == (
        "other.example",
        "a@example.com",
        "s3cret",
    )
    assert settings.smtp.effective_port == 587
    assert [str(root) for root in settings.email.attachment_roots] == ["/srv/files"]
    assert str(settings.sms.providers.sandbox.outbox) == "/tmp/outbox"
    assert settings.sms.provider == "aliyun"


def test_from_and_roots_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDQ_SMTP__FROM", "Acme <a@example.com>")
    monkeypatch.setenv("CLOUDQ_EMAIL__ATTACHMENT_ROOTS", "/srv/a,/srv/b")
    settings = load_platform_settings()
    assert settings.smtp.from_ == "Acme <a@example.com>"
    assert len(settings.email.attachment_roots) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smtp: {tls: maybe}", "smtp.tls"),
        ("smtp: {from: nobody}", "smtp.from"),
        ("smtp: {password: secret123}", "smtp.password"),
        ("sms: {providers: {aliyun: {access_key_secret: secret123}}}", "sms.providers.aliyun.access_key_secret"),
        ("sms: {provider: pigeon}", "sms.provider"),
    ],
)
def test_a_wrong_setting_is_one_line(text: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_platform_settings()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "secret123" not in str(raised.value)
