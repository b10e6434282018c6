"""The sms queue: send-sms, send-batch-sms and send-verification-code.

Ordinary messages: one a minute per number and so many a minute per provider. Codes have a limit of their own per
number, are never held up by ordinary messages, and are not sent once they are too old to be of use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.batch import Batch, Outcome, OverLimit
from tasks.clients.sms import ProviderDown, SmsGateway, Text
from tasks.contacts import e164, mask_phone, phone_key
from tasks.payloads import SendBatchSms, SendSms, SendVerificationCode, as_list, dump_payload

MINUTE = 60.0
SCRUBBED = "scrubbed"  # what stands in the stored payload for a code that was used
CODE_TEMPLATE = "verification_code"


@dataclass(frozen=True, slots=True)
class _Item:
    phone: str
    message: SendSms


def send_sms(payload: SendSms, job: JobContext, *, gateway: SmsGateway) -> Outcome:
    """Send one message to one number or several; ends well when at least one got it."""
    job.update_progress(10, "validate")

    def show(finished: int, total: int) -> None:
        job.update_progress(30 + 50 * finished / total, "send")

    result = _send_all(_items([payload]), job, gateway, show)
    with suppress(JobSignal):
        job.update_progress(100, "record")
    return result


def send_batch_sms(payload: SendBatchSms, job: JobContext, *, gateway: SmsGateway) -> Outcome:
    """Send many messages one by one; what a limit holds back goes out when its time comes."""

    def show(finished: int, total: int) -> None:
        job.update_progress(100 * finished / total, f"{finished} of {total}")

    result = _send_all(_items(payload.messages), job, gateway, show)
    with suppress(JobSignal):
        show(result["total"], result["total"])
    return result


def send_verification_code(payload: SendVerificationCode, job: JobContext, *, gateway: SmsGateway) -> Outcome:
    """Send a code, unless it is older than it is good for."""
    job.update_progress(10, "validate")
    stored: dict[str, Any] = job.last_checkpoint if isinstance(job.last_checkpoint, dict) else {}
    sent: Outcome | None = stored.get("sent")
    if sent is None:
        _refuse_old(payload)
        gateway.provider(gateway.default)  # refuses before a place is taken
        key = f"code:{phone_key(payload.phone)}"
        if time.time() - stored.get("tried", 0.0) >= MINUTE:
            if wait := job.limit(key, 1, MINUTE):
                job.defer(wait, "limit: one code a minute per number")
            # The place is this job's own: neither its next attempt nor one after a kill may wait for it.
            job.checkpoint({"tried": time.time()})
        job.update_progress(30, "send")
        sent = _send_code(payload, job, gateway)
        job.checkpoint({"sent": sent})
    # The code was used: it is nobody's to read any more, and no retry may send it again.
    job.scrub(dump_payload(payload.model_copy(update={"code": SCRUBBED})))
    with suppress(JobSignal):
        job.update_progress(80, "send")
        job.update_progress(100, "record")
    return sent


def _send_code(payload: SendVerificationCode, job: JobContext, gateway: SmsGateway) -> Outcome:
    text = Text(
        payload.phone,
        f"Your verification code is: {payload.code}. Valid for {payload.expires_in} minutes.",
        CODE_TEMPLATE,
        {"code": payload.code, "expiresIn": payload.expires_in},
    )
    name, receipt = _send_around(gateway.default, text, job, gateway, lambda _: _refuse_old(payload))
    return {"to": mask_phone(payload.phone), "provider": name, "receipt": receipt}


def _refuse_old(payload: SendVerificationCode) -> None:
    if payload.expires_at is not None and time.time() * 1000 >= payload.expires_at:
        minutes = "1 minute" if payload.expires_in == 1 else f"{payload.expires_in} minutes"
        raise PermanentFailure(f"expired: the code was valid for {minutes}")


def _send_around(
    preferred: str, text: Text, job: JobContext, gateway: SmsGateway, before: Callable[[str], None]
) -> tuple[str, str]:
    """Send by `preferred`, or around it while it is down: (the provider's name, the receipt).

    `before(name)` runs ahead of each try. What `preferred` says of the message is final; what another one
    says is not, since the message may be no business of that one (no template, no such country).
    """
    down: ProviderDown | None = None
    refusals: list[str] = []
    for name in gateway.route(preferred):
        job.check()
        before(name)
        try:
            return name, gateway.send(name, text, timeout=job.time_remaining)
        except ProviderDown as error:
            down = error if name == preferred or down is None else down
            refusals.append(str(error))
        except (PermanentFailure, TemporaryFailure) as error:
            if name == preferred:
                raise
            refusals.append(str(error))
        job.log(f"not sent by {name}: {refusals[-1]}")
    raise ProviderDown("; ".join(refusals), retry_after=down.retry_after if down else None)


def _items(messages: Sequence[SendSms]) -> list[_Item]:
    """A number that one message names twice, however it is written, gets it once."""
    return [
        _Item(phone, message)
        for message in messages
        for phone in {e164(phone): phone for phone in as_list(message.phone)}.values()
    ]


def _send_all(
    items: Sequence[_Item], job: JobContext, gateway: SmsGateway, show: Callable[[int, int], None]
) -> Outcome:
    batch = Batch(job, len(items), "messages")

    def send(index: int) -> Outcome:
        item = items[index]
        message = item.message
        preferred = message.provider or gateway.default
        gateway.provider(preferred)  # refuses before a place is taken
        since = batch.seconds_since_try(index)
        fresh = since is None or since >= MINUTE
        if fresh:
            _take_number(job, item.phone)

        def before(name: str) -> None:
            if fresh or name != preferred:
                _take_provider(job, name, gateway.max_per_minute)
            if fresh:
                batch.begin_try(index)

        text = Text(item.phone, message.message, message.template, message.variables)
        name, receipt = _send_around(preferred, text, job, gateway, before)
        return {"provider": name, "receipt": receipt}

    batch.run(send, show=show)
    return batch.conclude(lambda index: {"to": mask_phone(items[index].phone)})


def _take_number(job: JobContext, phone: str) -> None:
    """Take the number's place before the provider's: one that is sent to too often costs the provider nothing."""
    if wait := job.limit(f"number:{phone_key(phone)}", 1, MINUTE):
        raise OverLimit(wait, "limit: one message a minute per number")


def _take_provider(job: JobContext, provider: str, per_minute: int) -> None:
    """When the provider is full the number's place is spent, so the item waits until both are free again."""
    if wait := job.limit(f"provider:{provider}", per_minute, MINUTE):
        raise OverLimit(max(wait, MINUTE), f"limit: {per_minute} messages a minute by {provider}", for_all=True)
