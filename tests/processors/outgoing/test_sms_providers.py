"""aliyun, tencent and twilio against servers that check every signature by the providers' published algorithms.

The checks below are written from the documents, not from the clients: they take a request apart as it came over
the wire. test_sms_sdks.py compares the same signatures with the providers' own SDKs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote

import pytest

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from tasks.clients.sms import ProviderDown, SmsProvider, Text
from tasks.queues.sms import _Outside
from tasks.settings import PlatformSettings

SECRET = "s3cr3t-Key/with+odd=signs"
IDS = {"aliyun": "LTAI5tExample", "tencent": "AKIDz8krExample", "twilio": "AC" + "0" * 32}
TEMPLATES = {"verification_code": "SMS_154950909", "message": "SMS_100"}
Make = Callable[..., SmsProvider]


def settings(name: str, endpoint: str, **own: Any) -> PlatformSettings:
    known: dict[str, Any] = {
        "aliyun": {"access_key_id": IDS["aliyun"], "access_key_secret": SECRET, "sign_name": "云手机"},
        "tencent": {
            "secret_id": IDS["tencent"],
            "secret_key": SECRET,
            "sdk_app_id": "1400006666",
            "sign_name": "云手机",
        },
        "twilio": {"account_sid": IDS["twilio"], "auth_token": SECRET, "from": "+15005550006"},
    }
    provider = known[name] | {"endpoint": endpoint} | own
    return PlatformSettings.model_validate(
        {"sms": {"provider": name, "timeout": 2, "providers": {name: {k: v for k, v in provider.items() if v}}}}
    )


@pytest.fixture
def make(peer: Any) -> Make:
    def made(name: str, **own: Any) -> SmsProvider:
        return _Outside(settings(name, peer.url, **own)).gateway.provider(name)

    return made


def code(phone: str = "13800138000", template: str | None = "verification_code") -> Text:
    return Text(
        phone,
        "Your verification code is: 493817. Valid for 5 minutes.",
        template,
        {"code": "493817", "expiresIn": 5},
    )


# --- the signatures, as a provider checks them ---------------------------------------------------------------
def check_aliyun(request: Any) -> None:
    """https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature"""
    found = re.fullmatch(
        r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})",
        request.headers["authorization"],
    )
    assert found is not None
    key_id, names, signature = found.groups()
    assert key_id == IDS["aliyun"]
    signed = names.split(";")
    assert signed == sorted(signed)
    must = {name for name in request.headers if name.startswith("x-acs-")} | {"host"}
    assert must <= set(signed)
    assert request.headers["x-acs-content-sha256"] == hashlib.sha256(request.body).hexdigest()
    at = datetime.strptime(request.headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=15)
    pairs = sorted(parse_qsl(request.query, keep_blank_values=True, strict_parsing=True))
    query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs)
    canonical = (
        f"{request.method}\n{request.path}\n{query}\n"
        + "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed)
        + f"\n{names}\n{request.headers['x-acs-content-sha256']}"
    )
    to_sign = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    assert signature == hmac.digest(SECRET.encode(), to_sign.encode(), "sha256").hex()
    assert (request.headers["x-acs-action"], request.headers["x-acs-version"]) == ("SendSms", "2017-05-25")


def check_tencent(request: Any) -> None:
    """https://www.tencentcloud.com/document/api/382/34840"""
    found = re.fullmatch(
        r"TC3-HMAC-SHA256 Credential=([^/]+)/(\d{4}-\d\d-\d\d)/sms/tc3_request, "
        r"SignedHeaders=([a-z;-]+), Signature=([0-9a-f]{64})",
        request.headers["authorization"],
    )
    assert found is not None
    secret_id, date, names, signature = found.groups()
    assert secret_id == IDS["tencent"]
    assert {"content-type", "host"} <= set(names.split(";"))
    at = int(request.headers["x-tc-timestamp"])
    assert abs(time.time() - at) < 300
    assert date == datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    headers = "".join(f"{name}:{request.headers[name].strip().lower()}\n" for name in names.split(";"))
    body = hashlib.sha256(request.body).hexdigest()
    canonical = f"{request.method}\n{request.path}\n{request.query}\n{headers}\n{names}\n{body}"
    scope = f"{date}/sms/tc3_request"
    to_sign = f"TC3-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    day = hmac.digest(b"TC3" + SECRET.encode(), date.encode(), "sha256")
    key = hmac.digest(hmac.digest(day, b"sms", "sha256"), b"tc3_request", "sha256")
    assert signature == hmac.digest(key, to_sign.encode(), "sha256").hex()
    action = [request.headers[f"x-tc-{name}"] for name in ("action", "version", "region")]
    assert action == ["SendSms", "2021-01-11", "ap-guangzhou"]


def check_twilio(request: Any) -> None:
    """https://www.twilio.com/docs/usage/requests-to-twilio"""
    scheme, _, credentials = request.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials).decode()) == ("Basic", f"{IDS['twilio']}:{SECRET}")
    assert request.target == f"/2010-04-01/Accounts/{IDS['twilio']}/Messages.json"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


CHECKS = {"aliyun": check_aliyun, "tencent": check_tencent, "twilio": check_twilio}
GOOD: dict[str, Any] = {
    "aliyun": {"Code": "OK", "Message": "OK", "BizId": "900619746936498440^0", "RequestId": "F655A8D5"},
    "tencent": {
        "Response": {
            "SendStatusSet": [{"SerialNo": "5000:1045", "PhoneNumber": "+8613800138000", "Code": "Ok"}],
            "RequestId": "a0aabda6",
        }
    },
    "twilio": {"sid": "SM" + "1" * 32, "status": "queued", "error_code": None},
}
RECEIPTS = {"aliyun": "900619746936498440^0", "tencent": "5000:1045", "twilio": "SM" + "1" * 32}
NAMES = sorted(CHECKS)


@pytest.mark.parametrize("name", NAMES)
def test_each_request_is_signed_as_the_provider_checks_it(name: str, make: Make, peer: Any) -> None:
    def checked(request: Any) -> Any:
        CHECKS[name](request)
        return replied(GOOD[name])

    replied = type_of_reply(peer)
    peer.answer = checked
    provider = make(name, templates={"verification_code": OWN_TEMPLATE[name]})
    odd = Text("13800138000", "x", "verification_code", {"code": "a b+c/é~*'你", "expiresIn": 5})
    for text in (code(), code("+8613800138000"), code("+85251234567"), odd):
        assert provider.send(text, timeout=5) == RECEIPTS[name]
    assert len(peer.received) == 4
    assert peer.faults == []


OWN_TEMPLATE = {"aliyun": "SMS_154950909", "tencent": "449739", "twilio": "HX" + "a" * 32}


def type_of_reply(peer: Any) -> Callable[[Any], Any]:
    kind = type(peer.answer(None))
    return lambda body: kind(200, body)


def test_a_wrong_secret_would_be_found_out(make: Make, peer: Any) -> None:
    """The checks themselves can fail."""
    keys = {"aliyun": "access_key_secret", "tencent": "secret_key", "twilio": "auth_token"}
    for name, key in keys.items():
        peer.replies(200, GOOD[name])
        templates = {"verification_code": OWN_TEMPLATE[name]}
        make(name, templates=templates, **{key: "another"}).send(code(), timeout=5)
        with pytest.raises(AssertionError):
            CHECKS[name](peer.last)


# --- what is asked for --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("phone", "aliyun", "e164"),
    [
        ("13800138000", "13800138000", "+8613800138000"),
        ("+8613800138000", "13800138000", "+8613800138000"),
        ("+85251234567", "85251234567", "+85251234567"),
        ("+14155550100", "14155550100", "+14155550100"),
    ],
)
def test_numbers_go_in_each_providers_form(make: Make, peer: Any, phone: str, aliyun: str, e164: str) -> None:
    peer.replies(200, GOOD["aliyun"])
    make("aliyun", templates=TEMPLATES).send(code(phone), timeout=5)
    assert parse_qs(peer.last.query)["PhoneNumbers"] == [aliyun]
    peer.replies(200, GOOD["tencent"])
    make("tencent", templates={"verification_code": 449739}).send(code(phone), timeout=5)
    assert peer.last.json()["PhoneNumberSet"] == [e164]
    peer.replies(200, GOOD["twilio"])
    make("twilio").send(code(phone), timeout=5)
    assert parse_qs(peer.last.body.decode())["To"] == [e164]


def test_templates_by_name_by_id_and_for_plain_text(make: Make, peer: Any) -> None:
    peer.replies(200, GOOD["aliyun"])
    aliyun = make("aliyun", templates={"verification_code": {"id": "SMS_1", "variables": ["code"]}, "message": "SMS_2"})
    sent = []
    for text in (code(), code(template="SMS_77"), Text("13800138000", "Hello")):
        aliyun.send(text, timeout=5)
        query = parse_qs(peer.last.query)
        sent.append((query["TemplateCode"][0], json.loads(query["TemplateParam"][0]), query["SignName"][0]))
    assert sent == [
        ("SMS_1", {"code": "493817"}, "云手机"),
        ("SMS_77", {"code": "493817", "expiresIn": "5"}, "云手机"),
        ("SMS_2", {"message": "Hello"}, "云手机"),
    ]
    peer.replies(200, GOOD["tencent"])
    order = {"id": "449739", "variables": "expiresIn,code"}
    tencent = make("tencent", templates={"verification_code": order})
    for text in (code(), code(template="1110")):
        tencent.send(text, timeout=5)
    bodies = [request.json() for request in peer.received[-2:]]
    assert [(body["TemplateId"], body["TemplateParamSet"]) for body in bodies] == [
        ("449739", ["5", "493817"]),
        ("1110", ["493817", "5"]),
    ]
    assert (bodies[0]["SmsSdkAppId"], bodies[0]["SignName"]) == ("1400006666", "云手机")


def test_twilio_sends_text_or_content(make: Make, peer: Any) -> None:
    peer.replies(201, GOOD["twilio"])
    make("twilio").send(code(), timeout=5)
    form = parse_qs(peer.last.body.decode())
    assert form["Body"] == ["Your verification code is: 493817. Valid for 5 minutes."]
    assert form["From"] == ["+15005550006"]
    content = {"id": "HX" + "b" * 32, "variables": ["code", "expiresIn"]}
    make("twilio", templates={"verification_code": content}, **{"from": "MG" + "c" * 32}).send(code(), timeout=5)
    form = parse_qs(peer.last.body.decode())
    assert form["ContentSid"] == [content["id"]]
    assert json.loads(form["ContentVariables"][0]) == {"1": "493817", "2": "5"}
    assert form["MessagingServiceSid"] == ["MG" + "c" * 32]
    assert "Body" not in form


@pytest.mark.parametrize("name", ["aliyun", "tencent"])
def test_what_a_template_lacks_is_named_and_nothing_is_asked(name: str, make: Make, peer: Any) -> None:
    template = OWN_TEMPLATE[name]
    cases: list[tuple[dict[str, Any], Text, str]] = [
        ({}, code(), f"sms.providers.{name}.templates.verification_code is not set"),
        ({}, Text("13800138000", "Hello"), f"set sms.providers.{name}.templates.message"),
        ({"verification_code": {"id": template, "variables": ["name"]}}, code(), "no variable 'name'"),
    ]
    for templates, text, reason in cases:
        with pytest.raises(PermanentFailure, match=re.escape(reason)):
            make(name, templates=templates).send(text, timeout=5)
    assert peer.received == []


def test_a_mainland_number_needs_tencents_signature(make: Make, peer: Any) -> None:
    peer.replies(200, GOOD["tencent"])
    provider = make("tencent", sign_name="", templates={"verification_code": 1})
    with pytest.raises(PermanentFailure, match="sign_name is not set"):
        provider.send(code(), timeout=5)
    provider.send(code("+85251234567"), timeout=5)
    assert "SignName" not in peer.last.json()


# --- what goes wrong ----------------------------------------------------------------------------------------
def aliyun(status: int, code: str, message: str = "no") -> tuple[int, Any]:
    return status, {"Code": code, "Message": message, "RequestId": "R"}


def tencent(code: str, *, number: bool = False) -> tuple[int, Any]:
    status = {"SendStatusSet": [{"SerialNo": "", "Code": code, "Message": "no"}]}
    return 200, {"Response": status if number else {"Error": {"Code": code, "Message": "no"}}}


def twilio(status: int, code: int) -> tuple[int, Any]:
    return status, {"code": code, "message": "no", "status": status}


DOWN, LATER, NEVER = ProviderDown, TemporaryFailure, PermanentFailure
CLASSES: list[tuple[str, tuple[int, Any], type[Exception], float | None]] = [
    ("aliyun", aliyun(200, "isp.SYSTEM_ERROR"), DOWN, None),
    ("aliyun", aliyun(200, "isp.GATEWAY_ERROR"), DOWN, None),
    ("aliyun", aliyun(500, "InternalError"), DOWN, None),
    ("aliyun", aliyun(503, "ServiceUnavailable"), DOWN, None),
    ("aliyun", aliyun(400, "Throttling.User"), LATER, None),
    ("aliyun", aliyun(429, "Throttling"), LATER, None),
    ("aliyun", aliyun(400, "SignatureNonceUsed"), LATER, None),
    ("aliyun", aliyun(200, "isv.BUSINESS_LIMIT_CONTROL", "触发分钟级流控Permits:1"), LATER, 60),
    ("aliyun", aliyun(200, "isv.BUSINESS_LIMIT_CONTROL", "触发小时级流控Permits:5"), LATER, 3600),
    ("aliyun", aliyun(200, "isv.BUSINESS_LIMIT_CONTROL", "触发天级流控Permits:40"), NEVER, None),
    *(
        ("aliyun", aliyun(status, code), NEVER, None)
        for status, code in [
            (200, "isv.DAY_LIMIT_CONTROL"),
            (200, "isv.MONTH_LIMIT_CONTROL"),
            (200, "isv.MOBILE_NUMBER_ILLEGAL"),
            (200, "isv.MOBILE_COUNT_OVER_LIMIT"),
            (200, "isv.SMS_TEMPLATE_ILLEGAL"),
            (200, "isv.SMS_SIGNATURE_ILLEGAL"),
            (200, "isv.TEMPLATE_MISSING_PARAMETERS"),
            (200, "isv.INVALID_PARAMETERS"),
            (200, "isv.PARAM_LENGTH_LIMIT"),
            (200, "isv.PARAM_NOT_SUPPORT_URL"),
            (200, "isv.BLACK_KEY_CONTROL_LIMIT"),
            (200, "isv.AMOUNT_NOT_ENOUGH"),
            (200, "isv.OUT_OF_SERVICE"),
            (200, "isv.ACCOUNT_ABNORMAL"),
            (200, "isv.PRODUCT_UN_SUBSCRIPT"),
            (200, "isp.RAM_PERMISSION_DENY"),
            (404, "InvalidAccessKeyId.NotFound"),
            (400, "SignatureDoesNotMatch"),
            (400, "InvalidTimeStamp.Expired"),
            (403, "Forbidden.RAM"),
        ]
    ),
    ("tencent", tencent("InternalError"), DOWN, None),
    ("tencent", tencent("ServiceUnavailable"), DOWN, None),
    *(
        ("tencent", tencent(f"InternalError.{code}", number=True), DOWN, None)
        for code in ("OtherError", "ParseBackendResponseFail", "SendAndRecvFail", "Timeout", "UnknownError")
    ),
    *(
        ("tencent", tencent(f"InternalError.{code}"), NEVER, None)
        for code in ("RequestTimeException", "SigFieldMissing", "SigVerificationFail", "RestApiInterfaceNotExist")
    ),
    ("tencent", tencent("RequestLimitExceeded"), LATER, None),
    ("tencent", tencent("RequestLimitExceeded.UinLimitExceeded"), LATER, None),
    ("tencent", tencent("LimitExceeded.DeliveryFrequencyLimit", number=True), LATER, 60),
    ("tencent", tencent("LimitExceeded.GlobalSmsSendingRateLimit", number=True), LATER, 1),
    ("tencent", tencent("LimitExceeded.PhoneNumberThirtySecondLimit", number=True), LATER, 30),
    ("tencent", tencent("LimitExceeded.PhoneNumberOneHourLimit", number=True), LATER, 3600),
    *(
        ("tencent", tencent(code, number=number), NEVER, None)
        for code, number in [
            ("LimitExceeded.PhoneNumberDailyLimit", True),
            ("LimitExceeded.PhoneNumberSameContentDailyLimit", True),
            ("LimitExceeded.AppDailyLimit", False),
            ("FailedOperation.ContainSensitiveWord", True),
            ("FailedOperation.InsufficientBalanceInSmsPackage", True),
            ("FailedOperation.PhoneNumberInBlacklist", True),
            ("FailedOperation.SignatureIncorrectOrUnapproved", True),
            ("FailedOperation.TemplateIncorrectOrUnapproved", True),
            ("InvalidParameterValue.IncorrectPhoneNumber", True),
            ("InvalidParameterValue.TemplateParameterFormatError", True),
            ("MissingParameter.EmptyPhoneNumberSet", False),
            ("UnauthorizedOperation.SmsSdkAppIdVerifyFail", False),
            ("UnauthorizedOperation.ServiceSuspendDueToArrears", False),
            ("UnsupportedOperation.UnsupportedRegion", True),
            ("AuthFailure.SecretIdNotFound", False),
            ("AuthFailure.SignatureFailure", False),
            ("AuthFailure.SignatureExpire", False),
        ]
    ),
    ("twilio", twilio(500, 20500), DOWN, None),
    ("twilio", twilio(503, 20503), DOWN, None),
    ("twilio", twilio(400, 21730), DOWN, None),
    ("twilio", twilio(429, 20429), LATER, None),
    ("twilio", twilio(429, 14107), LATER, None),
    ("twilio", twilio(400, 21611), LATER, 60),
    *(
        ("twilio", twilio(status, code), NEVER, None)
        for status, code in [
            (401, 20003),
            (404, 20404),
            (400, 21211),
            (400, 21212),
            (400, 21408),
            (400, 21602),
            (400, 21606),
            (400, 21608),
            (400, 21610),
            (400, 21612),
            (400, 21614),
            (400, 21617),
            (400, 63038),
        ]
    ),
]


@pytest.mark.parametrize(
    ("name", "reply", "kind", "wait"), CLASSES, ids=lambda value: str(value)[:60] if isinstance(value, tuple) else ""
)
def test_each_documented_code_has_its_class(
    make: Make, peer: Any, name: str, reply: tuple[int, Any], kind: type[Exception], wait: float | None
) -> None:
    peer.replies(*reply)
    with pytest.raises(kind) as raised:
        make(name, templates={"verification_code": OWN_TEMPLATE[name]}).send(code(), timeout=5)
    assert type(raised.value) is kind
    assert getattr(raised.value, "retry_after", None) == wait
    assert str(raised.value).startswith(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("status", "kind"), [(429, LATER), (408, LATER), (500, DOWN), (502, DOWN), (404, NEVER), (302, NEVER)]
)
def test_an_answer_that_is_no_json_goes_by_its_status(
    make: Make, peer: Any, name: str, status: int, kind: type[Exception]
) -> None:
    peer.replies(status, b"<html>oops</html>", location="http://127.0.0.1:9/")
    with pytest.raises(kind) as raised:
        make(name, templates={"verification_code": OWN_TEMPLATE[name]}).send(code(), timeout=5)
    assert type(raised.value) is kind
    assert len(peer.received) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"Response": 3}', b"\xff", b"[" * 99999, b"x" * 2_000_000]
)
def test_a_good_status_with_nonsense_is_no_success(make: Make, peer: Any, name: str, body: bytes) -> None:
    peer.replies(200, body)
    with pytest.raises(ProviderDown):
        make(name, templates={"verification_code": OWN_TEMPLATE[name]}).send(code(), timeout=5)


@pytest.mark.parametrize("name", NAMES)
def test_retry_after_is_kept_as_seconds_or_date(make: Make, peer: Any, name: str) -> None:
    provider = make(name, templates={"verification_code": OWN_TEMPLATE[name]})
    at = datetime.now(UTC) + timedelta(seconds=90)
    for given, low, high in (
        ("7", 7, 7),
        (format_datetime(at, usegmt=True), 80, 90),
        ("9" * 30, 86400, 86400),
        ("soon", 0, None),
        (f"Mon, 01 Jan 2020 00:00:00 +{'9' * 30}", 0, None),
    ):
        peer.replies(429, {}, **{"retry-after": given})
        with pytest.raises(TemporaryFailure) as raised:
            provider.send(code(), timeout=5)
        wait = raised.value.retry_after
        assert wait is None if high is None else low <= (wait or 0) <= high


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_that_stays_silent_or_is_gone_is_down(name: str, silent_peer: Any) -> None:
    silent = silent_peer()
    provider = _Outside(
        settings(name, f"http://127.0.0.1:{silent.port}", templates={"verification_code": OWN_TEMPLATE[name]})
    ).gateway.provider(name)
    start = time.monotonic()
    with pytest.raises(ProviderDown, match=rf"timeout: {name} \(0\.2s\)"):
        provider.send(code(), timeout=0.2)
    assert time.monotonic() - start < 1.2
    silent.close()
    with pytest.raises(ProviderDown, match=f"cannot reach {name}: "):
        provider.send(code(), timeout=2)


def test_a_peer_that_drips_is_given_up_as_a_whole(silent_peer: Any) -> None:
    """Each byte resets a read timeout; the whole answer must be bound."""
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while not stop.wait(0.05):
                try:
                    peer.sendall(b"y")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        provider = _Outside(settings("twilio", f"http://127.0.0.1:{listener.getsockname()[1]}")).gateway.provider(
            "twilio"
        )
        start = time.monotonic()
        with pytest.raises(ProviderDown, match="timeout"):
            provider.send(code(), timeout=0.4)
        assert time.monotonic() - start < 1.4
    finally:
        stop.set()
        thread.join()
        listener.close()


# --- what must not be told ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_no_error_or_log_repeats_code_number_or_secret(
    name: str, make: Make, peer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Providers repeat what they were sent; aliyun the whole signed request when a signature is wrong."""

    def echo(request: Any, echo_code: str) -> Any:
        said = f"{request.target} {request.body.decode()} {SECRET} 493817 13800138000 +8613800138000"
        body = {
            "aliyun": {"Code": echo_code, "Message": said},
            "tencent": {"Response": {"Error": {"Code": echo_code, "Message": said}}},
            "twilio": {"code": 21211, "message": said},
        }[name]
        return reply(400 if name != "tencent" else 200, body)

    reply = type(peer.answer(None))
    with caplog.at_level(logging.DEBUG):
        for echo_code in ("SignatureDoesNotMatch", "isv.INVALID_PARAMETERS", "AuthFailure.SignatureFailure"):
            peer.answer = partial(echo, echo_code=echo_code)
            with pytest.raises(PermanentFailure) as raised:
                make(name, templates={"verification_code": OWN_TEMPLATE[name]}).send(code(), timeout=5)
            told = str(raised.value) + repr(raised.value) + caplog.text
            for secret in ("493817", "13800138000", SECRET, SECRET[:8]):
                assert secret not in told
    assert SECRET not in repr(make(name))


@pytest.mark.parametrize(
    ("name", "missing", "variable"),
    [
        ("aliyun", "access_key_id", "CLOUDQ_SMS__PROVIDERS__ALIYUN__ACCESS_KEY_ID"),
        ("aliyun", "access_key_secret", "CLOUDQ_SMS__PROVIDERS__ALIYUN__ACCESS_KEY_SECRET"),
        ("aliyun", "sign_name", "CLOUDQ_SMS__PROVIDERS__ALIYUN__SIGN_NAME"),
        ("tencent", "secret_id", "CLOUDQ_SMS__PROVIDERS__TENCENT__SECRET_ID"),
        ("tencent", "secret_key", "CLOUDQ_SMS__PROVIDERS__TENCENT__SECRET_KEY"),
        ("tencent", "sdk_app_id", "CLOUDQ_SMS__PROVIDERS__TENCENT__SDK_APP_ID"),
        ("twilio", "account_sid", "CLOUDQ_SMS__PROVIDERS__TWILIO__ACCOUNT_SID"),
        ("twilio", "auth_token", "CLOUDQ_SMS__PROVIDERS__TWILIO__AUTH_TOKEN"),
        ("twilio", "from", "CLOUDQ_SMS__PROVIDERS__TWILIO__FROM"),
    ],
)
def test_a_missing_credential_is_named(make: Make, peer: Any, name: str, missing: str, variable: str) -> None:
    expected = f"SMS provider {name}: sms.providers.{name}.{missing} is not set ({variable})"
    with pytest.raises(PermanentFailure, match=f"^{re.escape(expected)}$"):
        make(name, **{missing: None})


def test_secrets_come_from_files_too(make: Make, peer: Any, tmp_path: Any) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    peer.replies(200, GOOD["twilio"])
    make("twilio", auth_token=None, auth_token_file=str(file)).send(code(), timeout=5)
    check_twilio(peer.last)
    with pytest.raises(PermanentFailure, match=r"auth_token_file: .*No such file"):
        make("twilio", auth_token=None, auth_token_file=str(tmp_path / "none"))


def test_an_alarm_inside_the_library_comes_out_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process worker's hard timeout may strike inside the tasks of the HTTP library, which wrap it."""
    from tasks.clients import http_call

    class Alarm(Exception):
        pass

    async def alarmed(*_: Any) -> Any:
        raise BaseExceptionGroup("tasks", [OSError("closed"), ExceptionGroup("x", [Alarm("alarm")])])

    monkeypatch.setattr(http_call, "_exchange", alarmed)
    with pytest.raises(Alarm):
        http_call.call("POST", "http://127.0.0.1:1", headers={}, timeout=1, peer="x")


def test_an_alarm_between_the_librarys_steps_leaves_nothing_running(
    silent_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio
    import signal

    from tasks.clients import http_call

    class Alarm(Exception):
        pass

    def strike(*_: Any) -> None:
        raise Alarm

    tasks: list[Any] = []
    exchange = http_call._exchange

    async def watched(*given: Any) -> Any:
        tasks.append(asyncio.current_task())
        return await exchange(*given)

    monkeypatch.setattr(http_call, "_exchange", watched)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        for delay in (0.1, 0.2):
            signal.setitimer(signal.ITIMER_REAL, delay)
            with pytest.raises(Alarm):
                http_call.call("GET", f"http://127.0.0.1:{silent_peer().port}", headers={}, timeout=9, peer="x")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [task.done() for task in tasks] == [True, True]
