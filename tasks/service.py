"""QueueService: the platform's producers, and every monitoring and management call of the product.

A call returns as soon as Redis has the job. QueueUnavailable means it was not accepted, so the caller may act
directly instead; InvalidPayload names the field and the reason, and nothing was queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

from cloudq_tui.bootstrap import Runtime, build, default_actor
from cloudq_tui.engine.codec import encode
from cloudq_tui.errors import InvalidPayload
from cloudq_tui.models.event import Actor
from cloudq_tui.models.job import Job, JobOptions
from cloudq_tui.services.checks import checked_options
from cloudq_tui.services.operations import QueueOperations
from tasks.catalog import definitions
from tasks.payloads import Payload, SendEmail, SendNotification, SendSms, as_list, dump_payload, parse_payload
from tasks.queues.email import EmailRules
from tasks.settings import PlatformSettings, load_platform_settings

Data = Mapping[str, Any]


class QueueService(QueueOperations):
    """`QueueService()` finds its Redis by the settings; close it, or use it in a `with` block, when done."""

    def __init__(
        self,
        runtime: Runtime | None = None,
        *,
        platform: PlatformSettings | None = None,
        actor: Actor | None = None,
        read_only: bool = False,
    ) -> None:
        actor = actor or default_actor("python")
        self._platform = platform or load_platform_settings()
        jobs = definitions(self._platform)
        self._scheduled = next(one for one in jobs if one.name == "send-scheduled-email")
        parts = runtime or build(actor=actor, read_only=read_only, definitions=jobs)
        self._own_runtime = None if runtime else parts
        super().__init__(parts.engine, parts.reader, parts.settings, actor=actor, read_only=read_only, definitions=jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections it made itself; an embedded Redis stays up for its other users."""
        if self._own_runtime is not None:
            self._own_runtime.close()

    # email -----------------------------------------------------------------------------------------------

    def send_email(
        self,
        *,
        to: str | Sequence[str],
        subject: str,
        html: str | None = None,
        text: str | None = None,
        from_: str | None = None,
        cc: str | Sequence[str] | None = None,
        bcc: str | Sequence[str] | None = None,
        attachments: Sequence[Data] | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        """Queue one mail."""
        mail = _mail(to, subject, html, text, from_, cc, bcc, attachments)
        return self.enqueue("email", "send-email", mail, options)

    def send_batch_email(self, emails: Iterable[Data | SendEmail], options: JobOptions | None = None) -> list[Job]:
        """Queue many mails, one job for every `email.batch_size` of them. All are checked before any is queued."""
        rules = EmailRules(self._platform.email.max_recipients, ZoneInfo(self._platform.timezone))
        job = "send-batch-email"
        checked = _checked(SendEmail, emails, job, "emails")
        for index, mail in enumerate(checked):
            rules.one(mail, job=job, prefix=f"emails.{index}.")
        return self._enqueue_chunks("email", job, "emails", checked, options)

    def send_scheduled_email(
        self,
        *,
        to: str | Sequence[str],
        subject: str,
        scheduled_time: datetime | str,
        html: str | None = None,
        text: str | None = None,
        from_: str | None = None,
        cc: str | Sequence[str] | None = None,
        bcc: str | Sequence[str] | None = None,
        attachments: Sequence[Data] | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        """Queue one mail for `scheduled_time`, which takes the place of a delay in `options`.

        Without a zone it is in the `timezone` setting's; in the past the mail goes out at once.
        """
        mail = _mail(to, subject, html, text, from_, cc, bcc, attachments) | {"scheduledTime": scheduled_time}
        job = "send-scheduled-email"
        data = self._scheduled.check(mail)
        wait = datetime.fromisoformat(data["scheduledTime"]) - datetime.now(UTC)
        return self.enqueue("email", job, data, _with(checked_options(options), delay=max(wait, timedelta(0))))

    # sms -------------------------------------------------------------------------------------------------

    def send_sms(
        self,
        *,
        phone: str | Sequence[str],
        message: str,
        template: str | None = None,
        variables: Mapping[str, str | int | float] | None = None,
        provider: str | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        """Queue one text message to one number or several."""
        data = _given(
            phone=_plain(phone),
            message=message,
            template=template,
            variables=_fields(variables),
            provider=provider,
        )
        return self.enqueue("sms", "send-sms", data, options)

    def send_batch_sms(self, messages: Iterable[Data | SendSms], options: JobOptions | None = None) -> list[Job]:
        """Queue many text messages, one job for every `email.batch_size` numbers."""
        checked = _checked(SendSms, messages, "send-batch-sms", "messages")
        sizes = [len(as_list(message.phone)) for message in checked]
        return self._enqueue_chunks("sms", "send-batch-sms", "messages", checked, options, sizes)

    def send_verification_code(
        self, phone: str, code: str, expires_in: int = 5, *, options: JobOptions | None = None
    ) -> Job:
        """Queue a code; `expires_in` minutes from now it is not sent any more."""
        data = {"phone": phone, "code": code, "expiresIn": expires_in}
        return self.enqueue("sms", "send-verification-code", data, options)

    # notification ----------------------------------------------------------------------------------------

    def send_notification(
        self,
        *,
        targets: str | Sequence[str],
        body: str,
        title: str | None = None,
        level: str | None = None,
        kind: str | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        """Queue one notification to places that the worker's settings name; `kind` gives its priority."""
        data = _given(targets=_plain(targets), body=body, title=title, level=level, kind=kind)
        return self.enqueue("notification", "send-notification", data, options)

    def send_batch_notification(
        self, notifications: Iterable[Data | SendNotification], options: JobOptions | None = None
    ) -> list[Job]:
        """Queue many notifications, one job for every `email.batch_size` targets."""
        name = "send-batch-notification"
        checked = _checked(SendNotification, notifications, name, "notifications")
        sizes = [len(as_list(one.targets)) for one in checked]
        return self._enqueue_chunks("notification", name, "notifications", checked, options, sizes)

    # devices and reports: refused by NoProcessor until their queues have one ------------------------------

    def start_device(
        self, device_id: str, user_id: str, params: Data | None = None, *, options: JobOptions | None = None
    ) -> Job:
        """Queue the start of a device; `params` as in the settings of a device (resolution, dpi, ...)."""
        return self._device("start", device_id, user_id, params, options)

    def stop_device(self, device_id: str, user_id: str, *, options: JobOptions | None = None) -> Job:
        return self._device("stop", device_id, user_id, None, options)

    def restart_device(
        self, device_id: str, user_id: str, params: Data | None = None, *, options: JobOptions | None = None
    ) -> Job:
        return self._device("restart", device_id, user_id, params, options)

    def reset_device(self, device_id: str, user_id: str, *, options: JobOptions | None = None) -> Job:
        """Queue a reset, which wipes the device."""
        return self._device("reset", device_id, user_id, None, options)

    def install_app(
        self,
        device_id: str,
        package_name: str,
        apk_url: str,
        *,
        sha256: str | None = None,
        options: JobOptions | None = None,
    ) -> Job:
        params = _given(packageName=package_name, apkUrl=apk_url, sha256=sha256)
        return self._device("install", device_id, None, params, options)

    def uninstall_app(self, device_id: str, package_name: str, *, options: JobOptions | None = None) -> Job:
        return self._device("uninstall", device_id, None, {"packageName": package_name}, options)

    def generate_report(self, report: Data, *, options: JobOptions | None = None) -> Job:
        return self.enqueue("report-generation", "generate-report", _fields(report), options)

    def _device(
        self, operation: str, device: str, user: str | None, params: Data | None, options: JobOptions | None
    ) -> Job:
        kind = "app" if operation in {"install", "uninstall"} else "device"
        data = _given(deviceId=device, operation=operation, userId=user, params=_fields(params))
        return self.enqueue("device-operation", f"{operation}-{kind}", data, options)

    def _enqueue_chunks(
        self,
        queue: str,
        name: str,
        field: str,
        items: Sequence[Payload],
        options: JobOptions | None,
        sizes: Sequence[int] | None = None,
    ) -> list[Job]:
        dumped = [dump_payload(item) for item in items]
        room = self.settings.max_payload - len(encode([[{field: []}]]))
        found = _chunks(dumped, sizes or [1] * len(items), self._platform.email.batch_size, room)
        chunks = [{field: chunk} for chunk in found]
        numbered = _numbered(checked_options(options), len(chunks))
        return self._enqueue_each(queue, name, list(zip(chunks, numbered, strict=True)))


def _chunks(items: Sequence[Data], sizes: Sequence[int], most: int, room: int) -> Iterator[list[Data]]:
    """The items in order, as many to a chunk as have `most` together and take `room` bytes; a larger one has a chunk
    of its own."""
    chunk: list[Data] = []
    held = taken = 0
    for item, size in zip(items, sizes, strict=True):
        width = len(encode(item)) + 1  # and a comma
        if chunk and (held + size > most or taken + width > room):
            yield chunk
            chunk, held, taken = [], 0, 0
        chunk.append(item)
        held += size
        taken += width
    yield chunk


def _numbered(options: JobOptions, count: int) -> Iterator[JobOptions]:
    """One id per chunk: under one id all but the first would count as repetitions and be dropped."""
    for number in range(count):
        yield options if count == 1 or options.job_id is None else _with(options, job_id=f"{options.job_id}.{number}")


def _with(options: JobOptions, **changes: Any) -> JobOptions:
    """The options with other values, checked like them."""
    return JobOptions.model_validate(options.model_dump() | changes)


def _checked(model: type[Any], items: Iterable[Any], job: str, field: str) -> list[Any]:
    if not isinstance(items, Iterable):
        raise InvalidPayload(field, "must be a list", job=job)
    found = [parse_payload(model, item, job=job, prefix=f"{field}.{i}") for i, item in enumerate(items)]
    if not found:
        raise InvalidPayload(field, "is empty", job=job)
    return found


def _mail(
    to: str | Sequence[str],
    subject: str,
    html: str | None,
    text: str | None,
    from_: str | None,
    cc: str | Sequence[str] | None,
    bcc: str | Sequence[str] | None,
    attachments: Sequence[Data] | None,
) -> dict[str, Any]:
    files = [_fields(one) for one in attachments] if isinstance(attachments, list | tuple) else attachments
    mail = _given(to=_plain(to), subject=subject, html=html, text=text, cc=_plain(cc), bcc=_plain(bcc))
    return mail | _given(attachments=files) | ({} if from_ is None else {"from": from_})


def _plain(value: str | Sequence[str] | None) -> Any:
    return list(value) if isinstance(value, tuple | list | set | frozenset) else value


def _fields(value: Any) -> Any:
    """A mapping of any kind as the plain one that the models take; anything else is theirs to refuse."""
    return dict(value) if isinstance(value, Mapping) else value


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
