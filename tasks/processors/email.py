"""The email queue: send-email, send-scheduled-email and send-batch-email.

Steps of one mail: validate 10, send 30 to 80, record 100. A mail that went out is checkpointed before anything
else happens, so that no retry sends it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.batch import Batch, Halted, Outcome, Partly
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import LoginRefused, SmtpServer, SmtpSession
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
            letter = _letter(mails[index], job, index, server, files)
            sent, again = line.send(letter, batch.part_sent(index))
            if again:
                raise Partly(sent, again, _put_off(sent, again, letter))
            return sent

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
    before: Outcome | None = stored.get("sent")
    job.update_progress(30, "send")
    job.log(f"connecting {server.host}:{server.port}")
    with server.session(lambda: job.time_remaining) as session:
        try:
            session.connect()
            sent, again = _deliver(session, letter, None if before is None else (before, stored["again"]))
        except (TemporaryFailure, PermanentFailure) as error:
            if before is None or (isinstance(error, TemporaryFailure) and job.retries_left > 0):
                raise
            job.log(f"not sent to {len(stored['again'])} of {len(letter.recipients)} recipients: {error}")
            return before
        job.checkpoint({"sent": sent, "again": again})
    job.log(f"accepted as {letter.message_id}: {sent['reply']}")
    if again and job.retries_left > 0:
        raise _put_off(sent, again, letter)
    return sent


def _deliver(
    session: SmtpSession, letter: Letter, before: tuple[Outcome, list[int]] | None
) -> tuple[Outcome, list[int]]:
    """Send to everyone, or only to whom an earlier attempt left: the outcome of all, and whom this one leaves.

    Those left are the recipients, by their places in the letter, that the server asks to try again later.
    """
    everyone = letter.recipients
    wanted = everyone if before is None else tuple(everyone[index] for index in before[1])
    delivery = session.send(letter.message, letter.sender, wanted, letter.size)
    refused = [{"to": mask_address(to), "code": code, "error": why} for to, code, why in delivery.refused]
    accepted = len(wanted) - len(refused)
    if before is not None:
        accepted += before[0]["accepted"]
        refused = [one for one in before[0]["refused"] if one["code"] >= 500] + refused
    sent = {"messageId": letter.message_id, "accepted": accepted, "refused": refused, "reply": delivery.reply}
    return sent, [everyone.index(to) for to, code, _ in delivery.refused if code < 500]


def _put_off(sent: Outcome, again: list[int], letter: Letter) -> TemporaryFailure:
    first = next(one for one in sent["refused"] if one["code"] < 500)
    whom = f"{len(again)} of {len(letter.recipients)} recipients"
    return TemporaryFailure(f"{whom} to be tried again: {first['code']} {first['error']}")


def _letter(mail: SendEmail, job: JobContext, index: int, server: SmtpServer, files: AttachmentFiles) -> Letter:
    return compose(
        mail,
        job_id=job.id,
        index=index,
        default_sender=server.sender,
        read=files.read,
        most_attached=files.max_size,
    )


class _Line:
    """One batch's way out: tells a fault of one mail from one that stops them all."""

    def __init__(self, session: SmtpSession, server: SmtpServer) -> None:
        self._session = session
        self._server = server
        self._lost = 0

    def send(self, letter: Letter, before: tuple[Outcome, list[int]] | None) -> tuple[Outcome, list[int]]:
        used = self._session.connected
        try:
            self._session.connect()
        except (JobSignal, LoginRefused) as error:
            raise Halted(error) from error
        try:
            delivered = _deliver(self._session, letter, before)
        except TemporaryFailure as error:
            if self._session.connected:
                self._lost = 0
                raise
            if used and not isinstance(error.__cause__, TimeoutError):
                # Servers end a connection after so many mails, or seconds: not the fault of the mail that meets it.
                return self.send(letter, before)
            self._lost += 1
            if self._lost >= LOST_IN_A_ROW:
                raise Halted(error) from error
            raise
        self._lost = 0
        return delivered
