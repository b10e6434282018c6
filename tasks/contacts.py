"""Addresses and phone numbers: what is accepted, their one written form, and how they look when masked.

Knows no payload and no client. Reasons never repeat the value, so that they can be shown and logged.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from email.headerregistry import Address

from cloudq_tui.services.masking import mask_phone, mask_text

__all__ = [
    "Mailbox",
    "e164",
    "header_text",
    "mask_address",
    "mask_phone",
    "one_line",
    "parse_mailbox",
    "parse_phone",
    "peer_words",
    "phone_key",
    "writable",
]

# RFC 5322 atext; other letters come in by RFC 6531.
_ATEXT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+/=?^_`{|}~-")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Python's codec follows IDNA 2003, which silently turns these into other letters: another domain's mail.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_MAINLAND = re.compile(r"1[3-9][0-9]{9}")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One parsed address; `domain` is in its ASCII (xn--) form."""

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"

    def header(self) -> Address:
        return Address(display_name=self.name, username=self.local, domain=self.domain)


def writable(text: str) -> str:
    """Return `text` unchanged, or raise ValueError for half a character (a lone surrogate), which has no bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    return text


def one_line(text: str) -> str:
    """Return `text` unchanged, or raise ValueError if it could start another header line."""
    writable(text)
    if len(text.splitlines()) > 1 or any(unicodedata.category(letter) == "Cc" for letter in text):
        raise ValueError("must not contain line breaks or control characters")
    return text


def header_text(text: str) -> str:
    """Return `text` unchanged, or raise ValueError if it could start another header line once it is written.

    Python's email package decodes what looks like an encoded word (RFC 2047), and many of its versions write
    the line break inside of one as it is.
    """
    one_line(text)
    if "?=" in text.partition("=?")[2]:
        raise ValueError("must not contain an encoded word (=?...?=): give the text itself")
    return text


def parse_mailbox(text: str) -> Mailbox:
    """Parse `user@example.com` or `Name <user@example.com>`. Raises ValueError with the reason."""
    one_line(text)
    if "=?" in text:  # the word could end in the next address of the same header
        raise ValueError("must not contain the start of an encoded word (=?)")
    name, address = "", text.strip()
    if named := _NAMED.fullmatch(address):
        name, address = _display_name(named["name"].strip()), named["address"].strip()
    local, at, domain = address.rpartition("@")
    if not at:
        raise ValueError("is not an address: no @")
    return Mailbox(name, _local_part(local), _domain(domain))


def _display_name(name: str) -> str:
    if quoted := _QUOTED.fullmatch(name):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    return name


def _local_part(local: str) -> str:
    if not local or len(local.encode()) > 64:
        raise ValueError("is not an address: the part before @ must have 1 to 64 bytes")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise ValueError("is not an address: misplaced dot before @")
    for letter in local.replace(".", ""):
        if letter not in _ATEXT and (letter.isascii() or unicodedata.category(letter)[0] not in "LMNS"):
            raise ValueError("is not an address: a letter before @ is not allowed")
    return local


def _domain(domain: str) -> str:
    if _DEVIATIONS.intersection(domain):
        raise ValueError("has a domain that must be written in its xn-- form")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("is not an address: the domain is not valid") from None
    labels = ascii_domain.split(".")
    if len(ascii_domain) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is not an address: the domain is not valid")
    if len(labels) == 1 and labels[0].lower() != "localhost":
        raise ValueError("is not an address: the domain has no dot")
    return ascii_domain


def parse_phone(text: str) -> str:
    """E.164 (`+8613800138000`) or a mainland mobile number (`13800138000`), separators taken out."""
    digits = re.sub(r"[ ()-]", "", text)
    if not (_E164.fullmatch(digits) or _MAINLAND.fullmatch(digits)):
        raise ValueError("is not a phone number such as +8613800138000 or, for the mainland, 13800138000")
    return digits


def e164(phone: str) -> str:
    """A number that `parse_phone` took, in its international form."""
    return phone if phone.startswith("+") else f"+86{phone}"


def phone_key(phone: str) -> str:
    """One key per number however it is written, and no number in a key's name."""
    return hashlib.sha256(e164(phone).encode()).hexdigest()[:20]


def mask_address(address: str) -> str:
    """`t***@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def peer_words(text: str, limit: int = 300) -> str:
    """What a peer said, on one line, cut, without control characters and with personal data masked."""
    flat = "".join(letter for letter in " ".join(text.split()) if unicodedata.category(letter) != "Cc")
    return mask_text(flat[:limit])
