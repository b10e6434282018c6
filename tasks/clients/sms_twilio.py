"""Twilio's Messages resource (2010-04-01): HTTP Basic and a form.

API: https://www.twilio.com/docs/messaging/api/message-resource
Error codes: https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from tasks.clients.http_call import Answer
from tasks.clients.sms import ProviderDown, SmsApi, Template, Text, read_json, unreadable
from tasks.contacts import e164

PUBLIC = "https://api.twilio.com"
_CONTENT = re.compile(r"HX[0-9a-fA-F]{32}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_DOWN = frozenset({20500, 20503, 21730})  # internal error, unavailable, maintenance
_LATER = {
    20429: None,  # too many requests
    14107: None,  # rate limit of the account
    21611: 60.0,  # the sender's queue is full
}


@dataclass(frozen=True, slots=True)
class TwilioProvider:
    """Sends the message's text, or a content template (`HX...`, or a name of the settings) where one is set.

    `sender` is a number, a name or a messaging service (`MG...`).
    """

    api: SmsApi
    account_sid: str
    auth_token: str = field(repr=False)
    sender: str = ""

    def send(self, text: Text, *, timeout: float) -> str:
        form = {"To": e164(text.phone)} | self._content(text)
        form["MessagingServiceSid" if _SERVICE.fullmatch(self.sender) else "From"] = self.sender
        url = f"{self.api.endpoint}/2010-04-01/Accounts/{quote(self.account_sid, safe='')}/Messages.json"
        headers = {
            "authorization": authorization(self.account_sid, self.auth_token),
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        answer = self.api.ask("POST", url, headers, urlencode(form).encode(), timeout)
        return self._receipt(answer, text)

    def _content(self, text: Text) -> dict[str, str]:
        found = self.api.template(text)
        if found is None and text.template and _CONTENT.fullmatch(text.template):
            own = Template(text.template)
            found = own, own.values(text.variables or {}, text.template)
        if found is None:
            return {"Body": text.message}
        template, values = found
        if template.variables:
            # Twilio's own names for a template's variables are their positions.
            values = {str(place): value for place, value in enumerate(values.values(), start=1)}
        return {"ContentSid": template.id} | ({"ContentVariables": json.dumps(values)} if values else {})

    def _receipt(self, answer: Answer, text: Text) -> str:
        body = read_json(answer)
        if answer.ok and body is not None and body.get("sid"):
            return str(body["sid"])
        raise self._fault(answer, body or {}, text)

    def _fault(self, answer: Answer, body: dict[str, object], text: Text) -> JobSignal:
        code = body.get("code")
        if answer.ok or (answer.broken and not isinstance(code, int)):
            return unreadable(self.api, answer)
        number = code if isinstance(code, int) else answer.status
        if number == 20003:
            return PermanentFailure(f"twilio 20003: check account_sid and auth_token of {self.api.setting}")
        words = self.api.words(str(number), body.get("message") or "", text, self.auth_token)
        if answer.broken or number in _DOWN:
            return ProviderDown(words, retry_after=answer.retry_after)
        if answer.busy or number in _LATER:
            return TemporaryFailure(words, retry_after=answer.retry_after or _LATER.get(number))
        return PermanentFailure(words)


def authorization(account_sid: str, auth_token: str) -> str:
    """HTTP Basic (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{account_sid}:{auth_token}".encode()).decode()
