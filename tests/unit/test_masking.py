"""What a person sees of secrets and personal data."""

from __future__ import annotations

import time

import pytest

from cloudq_tui.models.job import Attempt, Job, JobState, LogLine
from cloudq_tui.services.masking import mask_data, mask_job, mask_phone, mask_text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("13800138000", "138****8000"),
        ("+86 138 0013 8000", "+86138****8000"),
        ("+14155552671", "+141****2671"),
        ("12345678", "****5678"),
        ("12345", "****45"),
        ("911", "****"),
    ],
)
def test_a_phone_number_keeps_its_ends(given: str, shown: str) -> None:
    assert mask_phone(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("to test@example.com now", "to t***@example.com now"),
        ("Bob <bob.smith+x@mail.example.co.uk>", "Bob <b***@mail.example.co.uk>"),
        ("sms to 13800138000 failed", "sms to 138****8000 failed"),
        ("call 138-0013-8000!", "call 138****8000!"),
        ("sent to +8613800138000.", "sent to +86138****8000."),
        ("login password=hunter2, host=mx", "login password=***, host=mx"),
        ('{"password": "hun ter2", "host": "mx"}', '{"password": ***, "host": "mx"}'),
        ("Authorization: Bearer abc.def.ghi", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijkl", "sent Bearer ***"),
        ("redis://user:pw@host:6379/1", "redis://***@host:6379/1"),
        ("https://user:pw@h", "https://***@h"),
        ("get https://user:p@ss@apk.example.com/a.apk now", "get https://***@apk.example.com/a.apk now"),
        ("https://user@apk.example.com/", "https://***@apk.example.com/"),
        (
            "https://b.example/a.apk?X-Amz-Credential=AKIA%2Fs3&X-Amz-Expires=300&x-amz-signature=0af",
            "https://b.example/a.apk?X-Amz-Credential=***&X-Amz-Expires=300&x-amz-signature=***",
        ),
        ("https://b.example/a.apk?sv=2020&SIG=ab%2Bc%3D&se=2026", "https://b.example/a.apk?sv=2020&SIG=***&se=2026"),
        ("'https://b.example/a?sign=ab,c&t=1'", "'https://b.example/a?sign=***&t=1'"),
        ("b.example/a?OSSAccessKeyId=LTAI&Signature=a%2F", "b.example/a?OSSAccessKeyId=***&Signature=***"),
        ("b.example/a?token=abc&access_key=LTAI", "b.example/a?token=***&access_key=***"),
        (
            "https://h?to=https%3A%2F%2Fb.example%3FX-Goog-Signature%3Dabc",
            "https://h?to=https%3A%2F%2Fb.example%3FX-Goog-Signature%3D***",
        ),
        (r'{"password": "with \"quotes\"", "n": 1}', '{"password": ***, "n": 1}'),
        ('password="cut in the middle', "password=***"),
        ("Your verification code is: 123456. Valid", "Your verification code is: ***. Valid"),
        ("验证码 123456 有效", "验证码 *** 有效"),
        ("{'code': '0042', 'n': 1}", "{'code': ***, 'n': 1}"),
    ],
)
def test_text_hides_what_is_personal_or_secret(given: str, shown: str) -> None:
    assert mask_text(given) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "535 Authentication credentials invalid",
        "(535, b'5.7.8 Error: authentication failed')",
        "timeout: smtp.example.com:587 (10s)",
        "finished at 1764000000000 after 13800 ms",
        "job 4f1c9a02138001380008be2d114a is gone",
        "exit code 137, status code 4012",
        "ops1@bastion retried",
        "SignatureDoesNotMatch: the signature is wrong",
        "https://b.example/a.apk?design=old&monkey=1",
    ],
)
def test_text_without_either_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "part", ["a", "1", "-", "a.", "password", "passcode", "auth", "a://", "?sig", "sig=,", "a@a.", "+1 1", '"', "key "]
)
def test_masking_takes_no_longer_than_the_text_is_long(part: str) -> None:
    """Ten seconds and more, where a pattern is tried anew at each letter of a long run."""
    began = time.process_time()
    mask_text(part * (65_536 // len(part)))
    assert time.process_time() - began < 1


def test_a_presigned_address_in_a_payload_is_hidden() -> None:
    address = "https://b.example/a.apk?X-Amz-Signature="
    shown = mask_data({"params": {"apkUrl": f"{address}0af", "query": {"X-Amz-Signature": "0af"}}})
    assert shown == {"params": {"apkUrl": f"{address}***", "query": {"X-Amz-Signature": "***"}}}


def test_data_keeps_its_shape() -> None:
    data = {
        "to": ["test@example.com", "b@example.org"],
        "phone": 13800138000,
        "mobileNumbers": ["13800138000", None],
        "code": "123456",
        "smtp": {"password": "x", "apiKey": "k", "user_token": ["a"], "port": 587},
        "outcomes": {"test@example.com": {"code": 250, "provider": "OK"}, "c@d.example": {"code": "OK"}},
        "n": 1.5,
        "nothing": None,
        "empty": {"secret": ""},
    }
    assert mask_data(data) == {
        "to": ["t***@example.com", "b***@example.org"],
        "phone": "138****8000",
        "mobileNumbers": ["138****8000", None],
        "code": "***",
        "smtp": {"password": "***", "apiKey": "***", "user_token": "***", "port": 587},
        "outcomes": {"t***@example.com": {"code": 250, "provider": "OK"}, "c***@d.example": {"code": "OK"}},
        "n": 1.5,
        "nothing": None,
        "empty": {"secret": ""},
    }


def test_recipients_that_look_alike_when_masked_are_all_kept() -> None:
    masked = mask_data({"tom@example.com": 1, "tim@example.com": 2, "t***@example.com": 3})
    assert sorted(masked.values()) == [1, 2, 3]


def test_a_letter_only_code_is_hidden_too() -> None:
    assert mask_data({"code": "ABC-DEF"}) == {"code": "***"}


def test_every_text_of_a_job_is_masked_but_who_cancelled_it() -> None:
    secret = "a@example.com password=p"
    job = Job(
        id="1",
        queue="email",
        name="send-email",
        state=JobState.FAILED,
        timestamp=1,
        data={"to": "a@example.com"},
        result=["a@example.com"],
        checkpoint={"sent": ["a@example.com"]},
        error=secret,
        reason="cancelled by ops@web.example.com",
        attempts=(Attempt(1, "failed", secret, traceback=secret),),
        logs=(LogLine(1, secret),),
    )
    shown = repr(mask_job(job))
    assert "a@example.com" not in shown
    assert "password=p" not in shown
    assert "cancelled by ops@web.example.com" in shown
