"""The email queue: send-email, send-scheduled-email and send-batch-email.

Steps of one mail: validate 10, send 30 to 80, record 100. A mail that went out is checkpointed before anything
else happens, so that no retry sends it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.batch import Batch, Halted, Outcome
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import Delivery, LoginRefused, SmtpServer, SmtpSession
from tasks.contacts import mask_address
from tasks.mail import Letter, compose, masked_recipients
from tasks.payloads import SendBatchEmail, SendEmail, SendScheduledEmail

LOST_IN_A_ROW = 2
"""Connections a server may drop one after the other before a batch stops knocking."""


def send_email(payload: SendEmail, job: JobContext, *, server: SmtpServer, files: AttachmentFiles) -> Outcome:
    """Send one mail; the result names the Message-ID and each recipient the server refused."""
    job.update_progress(10, "validate")
    stored: dict[str, Any] = job.last_checkpoint if isinstance(job.last_checkpoint, dict) else {}
    sent: Outcome | None = stored.get("sent")
    if sent is None or stored.get("again"):
        sent = _send_one(payload, job, server, files, stored)
    else:
        job.log(f"already sent as {sent['messageId']}, nothing to do")
    # The mail is out: a cancellation or timeout that arrives now can no longer undo it.
    with suppress(JobSignal):
        job.update_progress(80, "send")
        job.update_progress(100, "record")
    return sent


def send_scheduled_email(
    payload: SendScheduledEmail, job: JobContext, *, server: SmtpServer, files: AttachmentFiles
) -> Outcome:
    """Send one mail at its time; a job that was started too early is put off until then."""
    due = payload.scheduled_time
    wait = (due if due.tzinfo else due.astimezone()).timestamp() - datetime.now(UTC).timestamp()
    if wait > 0:
        job.defer(wait, "scheduled for later")
    return send_email(payload, job, server=server, files=files)


def send_batch_email(
    payload: SendBatchEmail,
    job: JobContext,
    *,
    server: SmtpServer,
    files: AttachmentFiles,
    pause: float = 0.0,
) -> Outcome:
    """Send many mails one by one over one connection, `pause` seconds apart."""
    mails = payload.emails
    batch = Batch(job, len(mails), "mails")
    with server.session(lambda: job.time_remaining) as session:
        line = _Line(session, server)

        def send(index: int) -> Outcome:
            return line.send(_letter(mails[index], job, index, server, files))

        def show(finished: int, total: int) -> None:
            job.update_progress(100 * finished / total, f"{finished} of {total}")

        batch.run(send, show=show, pause=pause)
    result = batch.conclude(lambda index: {"to": masked_recipients(mails[index])})
    with suppress(JobSignal):
        show(len(mails), len(mails))
    return result


def _send_one(
    payload: SendEmail, job: JobContext, server: SmtpServer, files: AttachmentFiles, stored: Mapping[str, Any]
) -> Outcome:
    """Send to everyone, or to whom an earlier attempt (`stored`) left for another one.

    Raises TemporaryFailure as long as someone was put off by the server and attempts are left.
    """
    letter = _letter(payload, job, 0, server, files)
    everyone, before = letter.recipients, stored.get("sent")
    if before is not None:
        letter = replace(letter, recipients=tuple(everyone[index] for index in stored["again"]))
    job.update_progress(30, "send")
    job.log(f"connecting {server.host}:{server.port}")
    with server.session(lambda: job.time_remaining) as session:
        try:
            session.connect()
            delivery = session.send(letter.message, letter.sender, letter.recipients, letter.size)
        except (TemporaryFailure, PermanentFailure) as error:
            if before is None or (isinstance(error, TemporaryFailure) and job.retries_left > 0):
                raise
            job.log(f"not sent to the last {len(letter.recipients)} of {len(everyone)}: {error}")
            return dict(before)
        sent = _outcome(letter, delivery)
        if before is not None:
            sent["accepted"] += before["accepted"]
            sent["refused"] = [one for one in before["refused"] if one["code"] >= 500] + sent["refused"]
        again = [everyone.index(to) for to, code, _ in delivery.refused if code < 500]
        job.checkpoint({"sent": sent, "again": again})
    job.log(f"accepted as {letter.message_id}: {sent['reply']}")
    if again and job.retries_left > 0:
        first = next(f"{code} {why}" for _, code, why in delivery.refused if code < 500)
        raise TemporaryFailure(f"{len(again)} of {len(everyone)} recipients to be tried again: {first}")
    return sent


def _letter(mail: SendEmail, job: JobContext, index: int, server: SmtpServer, files: AttachmentFiles) -> Letter:
    return compose(
        mail,
        job_id=job.id,
        index=index,
        default_sender=server.sender,
        read=files.read,
        most_attached=files.max_size,
    )


def _outcome(letter: Letter, delivery: Delivery) -> Outcome:
    refused = [{"to": mask_address(to), "code": code, "error": why} for to, code, why in delivery.refused]
    return {
        "messageId": letter.message_id,
        "accepted": len(letter.recipients) - len(refused),
        "refused": refused,
        "reply": delivery.reply,
    }


class _Line:
    """One batch's way out: tells a fault of one mail from one that stops them all."""

    def __init__(self, session: SmtpSession, server: SmtpServer) -> None:
        self._session = session
        self._server = server
        self._lost = 0

    def send(self, letter: Letter) -> Outcome:
        used = self._session.connected
        try:
            self._session.connect()
        except (JobSignal, LoginRefused) as error:
            raise Halted(error) from error
        try:
            delivery = self._session.send(letter.message, letter.sender, letter.recipients, letter.size)
        except TemporaryFailure as error:
            if self._session.connected:
                self._lost = 0
                raise
            if used and not isinstance(error.__cause__, TimeoutError):
                # Servers end a connection after so many mails, or seconds: not the fault of the mail that meets it.
                return self.send(letter)
            self._lost += 1
            if self._lost >= LOST_IN_A_ROW:
                raise Halted(error) from error
            raise
        self._lost = 0
        return _outcome(letter, delivery)
