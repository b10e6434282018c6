"""The email queue: send-email, send-scheduled-email and send-batch-email.

Steps of one mail: validate 10, send 30 to 80, record 100. A mail that went out is checkpointed before anything
else happens, so that no retry sends it again.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from cloudq_tui.errors import JobSignal, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.batch import Batch, Halted, Outcome
from tasks.clients.attachments import AttachmentFiles
from tasks.clients.smtp import LoginRefused, SmtpServer, SmtpSession
from tasks.mail import Letter, compose, masked_recipients
from tasks.payloads import SendBatchEmail, SendEmail, SendScheduledEmail

LOST_IN_A_ROW = 2
"""Connections a server may drop one after the other before a batch stops knocking."""


def send_email(payload: SendEmail, job: JobContext, *, server: SmtpServer, files: AttachmentFiles) -> Outcome:
    """Send one mail; the result names the Message-ID and each recipient the server refused."""
    job.update_progress(10, "validate")
    stored = job.last_checkpoint
    if isinstance(stored, dict) and "sent" in stored:
        sent: Outcome = stored["sent"]
        job.log(f"already sent as {sent['messageId']}, nothing to do")
    else:
        sent = _send_one(payload, job, server, files)
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
            letter = compose(mails[index], job_id=job.id, index=index, default_sender=server.sender, read=files.read)
            return line.send(letter)

        def show(finished: int, total: int) -> None:
            job.update_progress(100 * finished / total, f"{finished} of {total}")

        batch.run(send, show=show, pause=pause)
    result = batch.conclude(lambda index: {"to": masked_recipients(mails[index])})
    with suppress(JobSignal):
        show(len(mails), len(mails))
    return result


def _send_one(payload: SendEmail, job: JobContext, server: SmtpServer, files: AttachmentFiles) -> Outcome:
    letter = compose(payload, job_id=job.id, index=0, default_sender=server.sender, read=files.read)
    job.update_progress(30, "send")
    job.log(f"connecting {server.host}:{server.port}")
    with server.session(lambda: job.time_remaining) as session:
        session.connect()
        sent = _hand_over(session, letter)
        job.checkpoint({"sent": sent})
    job.log(f"accepted as {letter.message_id}: {sent['reply']}")
    return sent


def _hand_over(session: SmtpSession, letter: Letter) -> Outcome:
    delivery = session.send(letter.message, letter.sender, letter.recipients, letter.size)
    refused = [{"to": to, "code": code, "error": why} for to, code, why in delivery.refused]
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
        try:
            self._session.connect()
        except (JobSignal, LoginRefused) as error:
            raise Halted(error) from error
        try:
            outcome = _hand_over(self._session, letter)
        except TemporaryFailure as error:
            self._lost = 0 if self._session.connected else self._lost + 1
            if self._lost >= LOST_IN_A_ROW:
                raise Halted(error) from error
            raise
        self._lost = 0
        return outcome
