"""What the demo leaves behind, and what of it fails for a reason."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cloudq_tui.errors import Deferred, PermanentFailure
from tasks import demo_devices
from tasks.clients.sms import SandboxProvider, SmsGateway
from tasks.demo import Feeder
from tasks.payloads import SendVerificationCode
from tasks.processors.sms import send_verification_code
from tasks.queues.sms import with_expiry


class _Codes:
    """A QueueService that keeps the codes it is asked for, and takes everything else."""

    def __init__(self) -> None:
        self.asked: list[SendVerificationCode] = []

    def send_verification_code(self, phone: str, code: str, expires_in: int = 5) -> None:
        payload = {"phone": phone, "code": code, "expiresIn": expires_in}
        self.asked.append(with_expiry(SendVerificationCode.model_validate(payload)))

    def __getattr__(self, _: str) -> Any:
        return lambda *_args, **_more: None


def test_codes_that_are_asked_for_at_once_expire_but_one(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, gateway = _Codes(), SmsGateway({"sandbox": SandboxProvider(tmp_path / "outbox")}, {}, "sandbox", 600)
    Feeder(service).opening()  # type: ignore[arg-type]
    first, *others = service.asked
    assert len(others) >= 2
    send_verification_code(first, job, gateway=gateway)
    with pytest.raises(Deferred, match="one code a minute per number") as deferred:
        send_verification_code(others[0], job.again(id="2", last_checkpoint=None), gateway=gateway)
    turn = time.time() + deferred.value.delay
    monkeypatch.setattr(time, "time", lambda: turn)
    with pytest.raises(PermanentFailure, match=r"expired: the code was valid for 1 minute$"):
        send_verification_code(others[0], job.again(id="2", last_checkpoint=None), gateway=gateway)


def test_what_a_killed_demo_left_goes_and_what_a_living_one_has_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo_devices, "_servers", lambda: None)
    killed, starting = tmp_path / "cqd-demo-killed", tmp_path / "cqd-demo-starting"
    with demo_devices.device_environment(tmp_path):
        [living] = tmp_path.glob("cqd-demo-*")
        (killed / "data").mkdir(parents=True)
        starting.mkdir()
        for old in (living, killed):
            os.utime(old, (0, 0))
        with demo_devices.device_environment(tmp_path):
            assert (living.exists(), starting.exists(), killed.exists()) == (True, True, False)
    assert list(tmp_path.iterdir()) == [starting]
