"""The providers' own SDKs send to a server of ours; our signature of the same request is the same, byte for byte.

Tencent's SDK comes with the extra `test`; those of aliyun and twilio (60 MB together) with the extra `sdk`, and are
skipped without it. All of them, required:

    pip install -e '.[test,sdk]' && CLOUDQ_FULL=1 pytest tests/processors/outgoing/test_sms_sdks.py
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest

from tasks.clients import sms_aliyun, sms_tencent, sms_twilio
from tasks.clients.sms import SmsApi, SmsProvider, Template, Text

ID, SECRET = "AC00000000000000000000000000000000", "s3cr3t-Key/with+odd=signs"
TEXT = Text("13800138000", "你好 a+b", "note", {"name": "你好 ~*'() a+b/c&d=e"})

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def sdk(name: str) -> ModuleType:
    if os.environ.get("CLOUDQ_FULL"):
        return import_module(name)
    found: ModuleType = pytest.importorskip(name, reason="pip install '.[sdk]'")
    return found


def api(name: str, peer: Any, template: str) -> SmsApi:
    return SmsApi(name, peer.url, 5, {"note": Template(template)})


def ours(provider: SmsProvider, peer: Any) -> Any:
    provider.send(TEXT, timeout=5)
    return peer.last


def test_tencent(peer: Any) -> None:
    credential = sdk("tencentcloud.common.credential")
    client_profile = sdk("tencentcloud.common.profile.client_profile")
    http_profile = sdk("tencentcloud.common.profile.http_profile")
    client = sdk("tencentcloud.sms.v20210111.sms_client")
    models = sdk("tencentcloud.sms.v20210111.models")
    status = {"SerialNo": "1", "PhoneNumber": "+8613800138000", "Code": "Ok"}
    peer.replies(200, {"Response": {"SendStatusSet": [status], "RequestId": "r"}})
    mine = ours(sms_tencent.TencentProvider(api("tencent", peer, "1110"), ID, SECRET, "1400006666", "云手机"), peer)
    request = models.SendSmsRequest()
    request.from_json_string(mine.body.decode())
    profile = client_profile.ClientProfile(httpProfile=http_profile.HttpProfile(endpoint=peer.host, protocol="http"))
    client.SmsClient(credential.Credential(ID, SECRET), "ap-guangzhou", profile).SendSms(request)
    theirs = peer.last
    at = int(theirs.headers["x-tc-timestamp"])
    signed = sms_tencent.authorization(theirs.headers["host"], theirs.body, at, ID, SECRET)
    assert signed == theirs.headers["authorization"]
    assert theirs.json() == mine.json()
    assert (theirs.method, theirs.target) == (mine.method, mine.target)
    for name in ("content-type", "x-tc-action", "x-tc-version", "x-tc-region"):
        assert theirs.headers[name] == mine.headers[name]


def test_aliyun(peer: Any) -> None:
    client = sdk("alibabacloud_dysmsapi20170525.client")
    models = sdk("alibabacloud_dysmsapi20170525.models")
    openapi = sdk("alibabacloud_tea_openapi.models")
    peer.replies(200, {"Code": "OK", "BizId": "1", "RequestId": "r"})
    mine = ours(sms_aliyun.AliyunProvider(api("aliyun", peer, "SMS_1"), ID, SECRET, "云手机"), peer)
    query = dict(parse_qsl(mine.query))
    config = openapi.Config(access_key_id=ID, access_key_secret=SECRET, endpoint=peer.host, protocol="http")
    client.Client(config).send_sms(
        models.SendSmsRequest(
            phone_numbers=query["PhoneNumbers"],
            sign_name=query["SignName"],
            template_code=query["TemplateCode"],
            template_param=query["TemplateParam"],
        )
    )
    theirs = peer.last
    names = theirs.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = sms_aliyun.authorization(
        theirs.method,
        theirs.path,
        dict(parse_qsl(theirs.query)),
        {name: theirs.headers[name] for name in names},
        ID,
        SECRET,
    )
    assert signed == theirs.headers["authorization"]
    assert dict(parse_qsl(theirs.query)) == query
    assert (theirs.method, theirs.path, theirs.body) == (mine.method, mine.path, mine.body)
    for name in ("x-acs-action", "x-acs-version", "x-acs-content-sha256"):
        assert theirs.headers[name] == mine.headers[name]


def test_twilio(peer: Any) -> None:
    rest = sdk("twilio.rest")
    peer.replies(201, {"sid": "SM" + "1" * 32})
    mine = ours(sms_twilio.TwilioProvider(api("twilio", peer, "HX" + "a" * 32), ID, SECRET, "+15005550006"), peer)
    form = parse_qs(mine.body.decode())
    client = rest.Client(ID, SECRET)
    client.api.base_url = peer.url
    client.messages.create(
        to=form["To"][0],
        from_=form["From"][0],
        content_sid=form["ContentSid"][0],
        content_variables=form["ContentVariables"][0],
    )
    theirs = peer.last
    assert theirs.headers["authorization"] == mine.headers["authorization"]
    assert (theirs.method, theirs.target) == (mine.method, mine.target)
    assert parse_qs(theirs.body.decode()) == form
