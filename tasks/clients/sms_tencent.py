"""Tencent Cloud SMS (sms 2021-01-11, SendSms), signed with TC3-HMAC-SHA256.

Algorithm: https://www.tencentcloud.com/document/product/382/34840 (signature v3)
Error codes: https://www.tencentcloud.com/document/product/382/34856
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.clients.http_call import Answer
from tasks.clients.sms import ProviderDown, SmsApi, Template, Text, read_json, unreadable
from tasks.contacts import e164

PUBLIC = "https://sms.tencentcloudapi.com"
_SCHEME = "TC3-HMAC-SHA256"
_JSON = "application/json"
# Internal by name, yet about this request or these credentials: no second try mends them.
_OURS = frozenset(
    {"InternalError.RequestTimeException", "InternalError.RestApiInterfaceNotExist", "InternalError.SigFieldMissing",
     "InternalError.SigVerificationFail", "InternalError.JsonParseFail"}
)  # fmt: skip
_DOWN = frozenset({"InternalError", "ServiceUnavailable", "ResourceUnavailable"})
_LATER = {
    "RequestLimitExceeded": None,
    "LimitExceeded.DeliveryFrequencyLimit": 60.0,
    "LimitExceeded.GlobalSmsSendingRateLimit": 1.0,
    "LimitExceeded.PhoneNumberThirtySecondLimit": 30.0,
    "LimitExceeded.PhoneNumberOneHourLimit": 3600.0,
}


@dataclass(frozen=True, slots=True)
class TencentProvider:
    """Sends by template: a number such as `1110` or a name of `sms.providers.tencent.templates`.

    Its variables go by position: in the order that the settings give, else as the message has them.
    """

    api: SmsApi
    secret_id: str
    secret_key: str = field(repr=False)
    sdk_app_id: str = ""
    sign_name: str = ""
    region: str = "ap-guangzhou"

    def send(self, text: Text, *, timeout: float) -> str:
        template, values = self._template(text)
        phone = e164(text.phone)
        if phone.startswith("+86") and not self.sign_name:
            raise PermanentFailure(f"{self.api.setting}.sign_name is not set: mainland numbers need it")
        request = {
            "PhoneNumberSet": [phone],
            "SmsSdkAppId": self.sdk_app_id,
            "TemplateId": template.id,
            "TemplateParamSet": list(values.values()),
        } | ({"SignName": self.sign_name} if self.sign_name else {})
        body = json.dumps(request).encode()
        host = urlsplit(self.api.endpoint).netloc
        now = int(time.time())
        headers = {
            "host": host,
            "content-type": _JSON,
            "x-tc-action": "SendSms",
            "x-tc-version": "2021-01-11",
            "x-tc-region": self.region,
            "x-tc-timestamp": str(now),
            "authorization": authorization(host, body, now, self.secret_id, self.secret_key),
        }
        answer = self.api.ask("POST", f"{self.api.endpoint}/", headers, body, timeout)
        return self._receipt(answer, text)

    def _template(self, text: Text) -> tuple[Template, dict[str, str]]:
        found = self.api.template(text)
        if found is not None:
            return found
        if text.template and text.template.isascii() and text.template.isdigit():
            own = Template(text.template)
            return own, own.values(text.variables or {}, text.template)
        raise self.api.no_template(text)

    def _receipt(self, answer: Answer, text: Text) -> str:
        body = read_json(answer)
        response = (body or {}).get("Response")
        if answer.busy:
            raise TemporaryFailure(f"{self.api.name} {answer.status}", retry_after=answer.retry_after)
        if not isinstance(response, dict):
            if not answer.ok and not answer.broken:
                raise PermanentFailure(f"{self.api.name} refused the request with {answer.status}")
            raise unreadable(self.api, answer)
        status = _status(response)
        if status is None:
            raise unreadable(self.api, answer)
        code, said, serial = status
        if code == "Ok" and answer.ok:
            return serial
        raise self._fault(answer, code, said, text)

    def _fault(self, answer: Answer, code: str, said: str, text: Text) -> JobSignal:
        if code.startswith("AuthFailure.Signature"):
            return PermanentFailure(f"tencent {code}: check {self.api.setting}.secret_key and this host's clock")
        words = self.api.words(code, said, text, self.secret_key)
        family = code.partition(".")[0]
        if answer.broken or (family in _DOWN and code not in _OURS):
            return ProviderDown(words, retry_after=answer.retry_after)
        for known in (code, family):
            if known in _LATER:
                return TemporaryFailure(words, retry_after=answer.retry_after or _LATER[known])
        return PermanentFailure(words)


def _status(response: dict[str, Any]) -> tuple[str, str, str] | None:
    """(code, message, serial number) of the request or else of its one number."""
    error = response.get("Error")
    if isinstance(error, dict):
        return str(error.get("Code")), str(error.get("Message") or ""), ""
    numbers = response.get("SendStatusSet")
    if not isinstance(numbers, list) or not numbers or not isinstance(numbers[0], dict):
        return None
    first = numbers[0]
    return str(first.get("Code")), str(first.get("Message") or ""), str(first.get("SerialNo") or "")


def authorization(host: str, body: bytes, now: int, secret_id: str, secret_key: str) -> str:
    """The Authorization header of a POST to / whose content type is `application/json`; `now` in epoch seconds."""
    date = time.strftime("%Y-%m-%d", time.gmtime(now))
    names = "content-type;host"
    signed = f"content-type:{_JSON}\nhost:{host}\n"
    request = "\n".join(("POST", "/", "", signed, names, hashlib.sha256(body).hexdigest()))
    scope = f"{date}/sms/tc3_request"
    to_sign = "\n".join((_SCHEME, str(now), scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"TC3{secret_key}".encode()
    for part in (date, "sms", "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{_SCHEME} Credential={secret_id}/{scope}, SignedHeaders={names}, Signature={signature}"
