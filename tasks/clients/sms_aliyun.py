"""Alibaba Cloud SMS (dysmsapi 2017-05-25, SendSms), signed with ACS3-HMAC-SHA256.

Algorithm: https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature
Error codes: https://help.aliyun.com/zh/sms/developer-reference/api-error-codes
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.clients.http_call import Answer
from tasks.clients.sms import ProviderDown, SmsApi, Template, Text, read_json, unreadable
from tasks.contacts import e164

PUBLIC = "https://dysmsapi.aliyuncs.com"
_OWN_TEMPLATE = re.compile(r"SMS_[0-9]+")
_SCHEME = "ACS3-HMAC-SHA256"
_DOWN = frozenset(
    {"isp.SYSTEM_ERROR", "isp.GATEWAY_ERROR", "isp.UNKNOWN", "InternalError", "ServiceUnavailable",
     "ServiceUnavailableTemporary", "UnknownError"}
)  # fmt: skip
_LATER = {
    "isv.BUSINESS_LIMIT_CONTROL": 60.0,
    "BUSINESS_LIMIT_CONTROL_MINUTE": 60.0,
    "BUSINESS_LIMIT_CONTROL_PHONE": 60.0,
    "isv.BUSINESS_LIMIT_HOUR": 3600.0,
    "SignatureNonceUsed": None,
    "RequestTimeout": None,
}
_SIGNATURE = frozenset({"SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignature"})


@dataclass(frozen=True, slots=True)
class AliyunProvider:
    """Sends by template: `SMS_123456` or a name of `sms.providers.aliyun.templates`."""

    api: SmsApi
    access_key_id: str
    access_key_secret: str = field(repr=False)
    sign_name: str = ""

    def send(self, text: Text, *, timeout: float) -> str:
        template, values = self._template(text)
        query = {
            "PhoneNumbers": _number(text.phone),
            "SignName": self.sign_name,
            "TemplateCode": template.id,
            "TemplateParam": json.dumps(values, ensure_ascii=False, separators=(",", ":")),
        }
        host = urlsplit(self.api.endpoint).netloc
        headers = {
            "host": host,
            "x-acs-action": "SendSms",
            "x-acs-version": "2017-05-25",
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        }
        headers["authorization"] = authorization(
            "POST", "/", query, headers, self.access_key_id, self.access_key_secret
        )
        headers["accept"] = "application/json"
        url = f"{self.api.endpoint}/?{canonical_query(query)}"
        answer = self.api.ask("POST", url, headers, b"", timeout)
        return self._receipt(answer, text)

    def _template(self, text: Text) -> tuple[Template, dict[str, str]]:
        found = self.api.template(text)
        if found is not None:
            return found
        if text.template and _OWN_TEMPLATE.fullmatch(text.template):
            own = Template(text.template)
            return own, own.values(text.variables or {}, text.template)
        raise self.api.no_template(text)

    def _receipt(self, answer: Answer, text: Text) -> str:
        body = read_json(answer)
        code = str((body or {}).get("Code") or "")
        if answer.ok and code == "OK":
            return str((body or {}).get("BizId") or (body or {}).get("RequestId") or "")
        if body is None or not code:
            if answer.busy:
                raise TemporaryFailure(f"{self.api.name} {answer.status}", retry_after=answer.retry_after)
            if not answer.ok and not answer.broken:
                raise PermanentFailure(f"{self.api.name} refused the request with {answer.status}")
            raise unreadable(self.api, answer)
        raise self._fault(answer, code, (body or {}).get("Message") or "", text)

    def _fault(self, answer: Answer, code: str, said: object, text: Text) -> JobSignal:
        if code in _SIGNATURE:
            # The provider repeats the whole signed request, code and number included.
            return PermanentFailure(f"aliyun {code}: check {self.api.setting}.access_key_secret")
        words = self.api.words(code, said, text, self.access_key_secret)
        if code in _DOWN or answer.broken:
            return ProviderDown(words, retry_after=answer.retry_after)
        if code.startswith("Throttling") or answer.busy:
            return TemporaryFailure(words, retry_after=answer.retry_after)
        if code in _LATER:
            wait = _LATER[code]
            if code == "isv.BUSINESS_LIMIT_CONTROL":
                wait = _window(str(said))
            # A number's allowance for the day is used up: no retry of today gets through.
            return PermanentFailure(words) if wait == 0 else TemporaryFailure(words, retry_after=wait)
        return PermanentFailure(words)


def _window(said: str) -> float:
    """Seconds by the window that flow control names: minute, hour; 0 for a day or longer."""
    if any(word in said for word in ("天级", "月级", "day", "Day")):
        return 0.0
    return 3600.0 if any(word in said for word in ("小时", "hour", "Hour")) else 60.0


def _number(phone: str) -> str:
    """A mainland number bare, any other with its country code and no plus, as SendSms takes them."""
    number = e164(phone)
    return number.removeprefix("+86") if number.startswith("+861") else number.removeprefix("+")


def canonical_query(query: Mapping[str, str]) -> str:
    """Sorted, by RFC 3986: nothing but letters, digits and -._~ stays as it is."""
    return "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))


def authorization(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], key_id: str, secret: str
) -> str:
    """The Authorization header. `headers` are in lower case, and all of them are signed."""
    names = ";".join(sorted(headers))
    signed = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    payload = headers["x-acs-content-sha256"]
    request = "\n".join((method, path, canonical_query(query), signed, names, payload))
    to_sign = f"{_SCHEME}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{_SCHEME} Credential={key_id},SignedHeaders={names},Signature={signature}"
