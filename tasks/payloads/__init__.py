"""One payload model per job of the platform, the source of the JSON schemas.

camelCase on the wire, snake_case in Python, both accepted; unknown fields and loose types refused.
May import contacts and errors only: a producer loads it without any client.
"""

from __future__ import annotations

from tasks.payloads.base import MAX_BATCH, Payload, Text, as_list, dump_payload, parse_payload
from tasks.payloads.data_export import ExportData
from tasks.payloads.email import Attachment, SendBatchEmail, SendEmail, SendScheduledEmail
from tasks.payloads.notification import SendBatchNotification, SendNotification
from tasks.payloads.report_generation import GenerateReport
from tasks.payloads.sms import SendBatchSms, SendSms, SendVerificationCode

__all__ = [
    "MAX_BATCH",
    "Attachment",
    "ExportData",
    "GenerateReport",
    "Payload",
    "SendBatchEmail",
    "SendBatchNotification",
    "SendBatchSms",
    "SendEmail",
    "SendNotification",
    "SendScheduledEmail",
    "SendSms",
    "SendVerificationCode",
    "Text",
    "as_list",
    "dump_payload",
    "parse_payload",
]
