"""The signature of our webhooks: by the published scheme, and what a receiver refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest

from tasks.webhooks import REPLAY_WINDOW, SignatureRefused, sign, verify

BODY = b'{"id":"job-1.0","body":"5 \xe2\x82\xac"}'


def test_the_scheme_is_the_documented_one() -> None:
    headers = sign("a secret", "job-1.0", 1700000000, BODY)
    mac = hmac.new(b"a secret", b"job-1.0.1700000000." + BODY, hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "job-1.0",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def test_the_example_of_standard_webhooks() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, the test vector of its libraries."""
    headers = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_good_request_is_taken_whatever_the_case_of_its_headers() -> None:
    headers = {name.title(): value for name, value in sign("s", "m1", int(time.time()), BODY).items()}
    assert verify("s", headers, BODY) == "m1"
    headers["Webhook-Signature"] = "v1,AAAA v2,x " + headers["Webhook-Signature"]
    assert verify("s", headers, BODY) == "m1"


def test_an_empty_secret_signs_nothing_and_trusts_nobody() -> None:
    headers = sign("s", "m1", 1_700_000_000, BODY)
    for act in (lambda: sign("", "m1", 0, BODY), lambda: verify("", headers, BODY, now=1_700_000_000)):
        with pytest.raises(ValueError, match="the secret is empty"):
            act()


@pytest.mark.parametrize("age", [-REPLAY_WINDOW - 1, REPLAY_WINDOW + 1])
def test_a_replay_is_refused(age: int) -> None:
    headers = sign("s", "m1", 1_700_000_000, BODY)
    with pytest.raises(SignatureRefused, match="300 s away"):
        verify("s", headers, BODY, now=1_700_000_000 + age)
    assert verify("s", headers, BODY, now=1_700_000_000 + REPLAY_WINDOW) == "m1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "m2"),
        ("webhook-timestamp", "1700000001"),
        ("webhook-timestamp", "-5"),
        ("webhook-timestamp", "\u0661\u0667"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,é"),
        ("webhook-signature", "v1,\udcff"),  # a byte that is no UTF-8, as some servers hand it on
        ("webhook-id", "\udcff"),
        ("webhook-signature", None),
    ],
)
def test_what_was_changed_is_refused(name: str, value: str | None) -> None:
    headers = sign("s", "m1", 1_700_000_000, BODY)
    changed = {key: part for key, part in (headers | {name: value}).items() if part is not None}
    with pytest.raises(SignatureRefused):
        verify("s", changed, BODY, now=1_700_000_000)
    with pytest.raises(SignatureRefused):
        verify("s", headers, BODY + b" ", now=1_700_000_000)
    with pytest.raises(SignatureRefused):
        verify("another", headers, BODY, now=1_700_000_000)
