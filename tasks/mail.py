"""Turns a mail's payload into the message on the wire: headers, bodies, attachments, envelope.

Opens no connection and reads no file: attachment bytes are fetched through the function it is given.
"""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from urllib.parse import quote

from cloudq_tui.errors import PermanentFailure
from tasks.contacts import Mailbox, mask_address, parse_mailbox
from tasks.payloads import Attachment, SendEmail, as_list


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and its envelope; `size` in bytes of what dominates it, bodies and attachments."""

    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    size: int


def message_id(job_id: str, index: int, domain: str) -> str:
    """The same for every run of the same job, so that receivers see a mail sent twice as one."""
    return f"<{quote(job_id, safe='').replace('.', '%2E')}.{index}@{domain}>"


def compose(
    mail: SendEmail,
    *,
    job_id: str,
    index: int,
    default_sender: str,
    read: Callable[[str], bytes],
    most_attached: float = math.inf,
) -> Letter:
    """Build the letter. Raises PermanentFailure when a part of it cannot be had.

    `read` gives the bytes of an attachment's path; all of them together may have `most_attached`.
    """
    sender = _sender(mail, default_sender)
    to, cc, bcc = ([parse_mailbox(text) for text in as_list(part)] for part in (mail.to, mail.cc, mail.bcc))
    identity = message_id(job_id, index, sender.domain)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender.header()
    message["To"] = [box.header() for box in to]
    if cc:
        message["Cc"] = [box.header() for box in cc]
    message["Subject"] = mail.subject
    message["Date"] = localtime()
    message["Message-ID"] = identity
    attached, bodies = 0, _add_bodies(message, mail)
    for attachment in mail.attachments or ():
        attached += _attach(message, attachment, read)
        if attached > most_attached:
            raise PermanentFailure(f"the attachments exceed email.max_attachment_size ({most_attached} bytes) together")
    return Letter(
        message=message,
        sender=sender.address,
        recipients=tuple(dict.fromkeys(box.address for box in (*to, *cc, *bcc))),
        message_id=identity,
        size=bodies + attached,
    )


def masked_recipients(mail: SendEmail) -> str | list[str]:
    """Whom a mail is for, as results and logs may show it."""
    masked = [mask_address(parse_mailbox(text).address) for text in as_list(mail.to)]
    return masked[0] if isinstance(mail.to, str) else masked


def _sender(mail: SendEmail, default: str) -> Mailbox:
    text = mail.from_ or default
    if not text:
        raise PermanentFailure("the mail has no sender: set smtp.from (CLOUDQ_SMTP__FROM) or give `from`")
    return parse_mailbox(text)


def _add_bodies(message: EmailMessage, mail: SendEmail) -> int:
    """Plain text first and HTML as its alternative: a receiver shows the last part it understands."""
    if mail.html is None:
        message.set_content(mail.text or "")
    elif mail.text is None:
        message.set_content(mail.html, subtype="html")
    else:
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
    return len(mail.html or "") + len(mail.text or "")


def _attach(message: EmailMessage, attachment: Attachment, read: Callable[[str], bytes]) -> int:
    data = attachment.data() if attachment.path is None else read(attachment.path)
    kind, encoding = mimetypes.guess_type(attachment.filename)
    if kind is None or encoding is not None or kind.startswith("message/"):
        kind = "application/octet-stream"
    maintype, subtype = kind.split("/", 1)
    message.add_attachment(data, maintype=maintype, subtype=subtype, filename=attachment.filename)
    return len(data)
