"""Signs our webhooks, and checks such a signature at the other end. Standard library only: copy it if you like.

The scheme is that of https://www.standardwebhooks.com, for which receivers find libraries in most languages:

    webhook-id          the same for every repetition of one notification: drop what you have seen
    webhook-timestamp   epoch seconds of this very request
    webhook-signature   "v1," and the base64 of HMAC-SHA256(secret, "{id}.{timestamp}.{body}"); several, parted
                        by blanks, while a secret is being changed

A receiver refuses timestamps more than five minutes away from its own clock (the replay window).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

REPLAY_WINDOW = 300
"""Seconds by which a timestamp may differ from the receiver's clock."""


class SignatureRefused(ValueError):
    """The request is not ours, was changed on its way, or is too old; the text says which."""


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers; `timestamp` in epoch seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{_digest(secret, message_id, str(timestamp), body)}",
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> str:
    """Check a received request: its headers, and its body as it came, before any parsing.

    Returns the message's id, under which the receiver remembers it. Raises SignatureRefused.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
    except KeyError as missing:
        raise SignatureRefused(f"header {missing.args[0]} is missing") from None
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) < 16):
        raise SignatureRefused("webhook-timestamp is no number")
    if abs((time.time() if now is None else now) - int(sent_at)) > REPLAY_WINDOW:
        raise SignatureRefused(f"webhook-timestamp is more than {REPLAY_WINDOW} s away")
    expected = f"v1,{_digest(secret, message_id, sent_at, body)}".encode()
    # Every one is compared, each in constant time, so that the time taken tells nothing.
    if not sum(hmac.compare_digest(expected, _bytes(signature)) for signature in signatures):
        raise SignatureRefused("the signature does not fit")
    return message_id


def _digest(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    signed = _bytes(f"{message_id}.{timestamp}.") + body
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _bytes(text: str) -> bytes:
    """Headers as some servers give them: what was no UTF-8 stands as lone surrogates, which have no bytes."""
    return text.encode(errors="surrogatepass")


def _key(secret: str) -> bytes:
    """`whsec_` marks a secret in base64, as Standard Webhooks has it; any other counts as it is written."""
    if not secret:
        raise ValueError("the secret is empty")
    marked, _, coded = secret.partition("whsec_")
    if marked or not coded:
        return secret.encode()
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("what follows whsec_ must be base64") from None
