"""Signature scheme 1: the JAR signature in META-INF, over a manifest of digests of the single entries."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zipfile
from collections.abc import Callable
from typing import Any, cast

from asn1crypto import cms

from tasks.apk.archive import entry_chunks, read_entry
from tasks.apk.errors import BadApk
from tasks.apk.keys import MOST_SIGNERS, Algorithm, Hash, public_key, verify

_MANIFEST = "META-INF/MANIFEST.MF"
_MOST = 16 * 1024**2  # bytes of a manifest or signature file
_MOST_BLOCK = 1024**2  # bytes of a signature block
_MOST_SECTIONS = 65_536  # as many as an archive can have entries, and the main one
_MOST_SECTION = 256 * 1024  # bytes of one
_MOST_UNPACKED = 16 * 1024**3
_HASHES: dict[str, Hash] = {
    "SHA-512": "sha512",
    "SHA-384": "sha384",
    "SHA-256": "sha256",
    "SHA1": "sha1",
    "SHA-1": "sha1",
}
_SIGNED_TOO = re.compile(r"\s*[0-9]+(\s*,\s*[0-9]+)*\s*")
_UNSIGNED = "META-INF/"  # what the signers did not list there, nobody signed: stores mark their channel so

Attributes = dict[str, str]


def jar_signers(archive: zipfile.ZipFile, progress: Callable[[int], None]) -> list[bytes]:
    """The certificates (DER) of everyone who signed every entry of a package without a newer scheme. Raises BadApk."""
    names = set(archive.namelist())
    files = sorted(name for name in names if re.fullmatch(r"META-INF/[^/]+\.SF", name, re.IGNORECASE))
    if _MANIFEST not in names or not files:
        raise BadApk("it is not signed")
    if len(files) > MOST_SIGNERS:
        raise BadApk(f"it has more than {MOST_SIGNERS} signers")
    manifest = read_entry(archive, _MANIFEST, _MOST)
    sections = _sections(manifest)
    certificates = [_signer(archive, names, name, manifest, sections) for name in files]
    _check_entries(archive, sections, progress)
    return certificates


def _signer(
    archive: zipfile.ZipFile,
    names: set[str],
    name: str,
    manifest: bytes,
    sections: list[tuple[bytes, Attributes]],
) -> bytes:
    signature = read_entry(archive, name, _MOST)
    blocks = [name[:-2] + kind for kind in ("RSA", "DSA", "EC", "rsa", "dsa", "ec") if name[:-2] + kind in names]
    if len(blocks) != 1:
        raise BadApk(f"{name} has no signature block of its own")
    certificate = _check_block(read_entry(archive, blocks[0], _MOST_BLOCK), signature)
    parts = _sections(signature)
    main = parts[0][1]
    also = main.get("X-Android-APK-Signed", "")
    if _SIGNED_TOO.fullmatch(also) and {int(one) for one in also.split(",")} & {2, 3}:
        raise BadApk("its newer signature was taken out")
    if _digest_fits(main, "-Digest-Manifest", manifest):
        return certificate
    # Without a digest of the whole, every single section needs one.
    signed = {attributes["Name"]: attributes for _, attributes in parts[1:] if "Name" in attributes}
    for raw, attributes in sections[1:]:
        if not _digest_fits(signed.get(attributes.get("Name", ""), {}), "-Digest", raw):
            raise BadApk("its manifest was changed after it was signed")
    return certificate


def _check_entries(
    archive: zipfile.ZipFile, sections: list[tuple[bytes, Attributes]], progress: Callable[[int], None]
) -> None:
    listed: dict[str, Attributes] = {}
    for _, attributes in sections[1:]:
        name = attributes.get("Name", "")
        if not name or name in listed:
            raise BadApk("its manifest names an entry twice, or none")
        listed[name] = attributes
    done = 0
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and (name in listed or not name.startswith(_UNSIGNED))
    ]
    if missing := set(listed) - set(archive.namelist()):
        raise BadApk(f"an entry is gone: {min(missing)[:100]}")
    for name in names:
        kind, wanted = _strongest(listed.get(name, {}), "-Digest")
        digest = hashlib.new(kind)
        for chunk in entry_chunks(archive, name, _MOST_UNPACKED - done):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
            if done > _MOST_UNPACKED:
                raise BadApk(f"it unpacks to more than {_MOST_UNPACKED} bytes")
        if not wanted or digest.digest() != wanted:
            raise BadApk(f"an entry is not as it was signed: {name[:100]}")


def _sections(data: bytes) -> list[tuple[bytes, Attributes]]:
    """The sections of a manifest, each as its bytes and its attributes. The first one is the main section."""
    found: list[tuple[bytes, Attributes]] = []
    for section in re.finditer(rb"(?:[^\r\n]+(?:\r\n|\n|\r|\Z))+(?:\r\n|\n|\r)*", data):
        raw = section[0]
        if len(raw) > _MOST_SECTION or len(found) == _MOST_SECTIONS:
            raise BadApk("its manifest is too long")
        text = re.sub(r"(\r\n|\n|\r) ", "", raw.decode("utf-8", "replace"))
        pairs = [line.split(": ", 1) for line in re.split(r"\r\n|\n|\r", text) if line]
        if any(len(pair) != 2 for pair in pairs):
            raise BadApk("its manifest cannot be read")
        found.append((_with_one_blank(raw), dict(pairs)))
    if not found:
        raise BadApk("its manifest is empty")
    return found


def _with_one_blank(raw: bytes) -> bytes:
    """A section's digest covers the first empty line after it, and no more."""
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", raw)
    end = next((index for index, line in enumerate(lines) if not line.strip(b"\r\n")), len(lines) - 1)
    return b"".join(lines[: end + 1])


def _strongest(attributes: Attributes, suffix: str) -> tuple[Hash, bytes]:
    for prefix, kind in _HASHES.items():
        if prefix + suffix in attributes:
            try:
                return kind, base64.b64decode(attributes[prefix + suffix], validate=True)
            except (binascii.Error, ValueError):
                raise BadApk("a digest in its manifest cannot be read") from None
    return "sha256", b""


def _digest_fits(attributes: Attributes, suffix: str, data: bytes) -> bool:
    kind, wanted = _strongest(attributes, suffix)
    return bool(wanted) and hashlib.new(kind, data).digest() == wanted


def _check_block(block: bytes, data: bytes) -> bytes:
    """The signer's certificate of a PKCS #7 signature of `data` (RFC 5652). Raises BadApk."""
    try:
        certificate, digest, signature, covered = _read_block(block, data)
    except BadApk:
        raise
    except Exception:  # noqa: BLE001 - asn1crypto raises whatever crooked data leads it to
        raise BadApk("a signature block cannot be read") from None
    key = public_key(certificate)
    kind = type(key).__name__.lower()
    family = next((one for one in ("rsa", "dsa") if kind.startswith(one)), "ec")
    verify(key, Algorithm(cast("Any", family), digest), signature, covered)
    return certificate


def _read_block(block: bytes, data: bytes) -> tuple[bytes, Hash, bytes, bytes]:
    """Certificate, digest, signature, and what the signature is of."""
    content: Any = cms.ContentInfo.load(block, strict=True)
    if content["content_type"].native != "signed_data":
        raise BadApk("a signature block is of another kind")
    signed = content["content"]
    [signer] = signed["signer_infos"]
    certificate = _certificate_of(signer, signed["certificates"])
    digest = cast("Hash", signer["digest_algorithm"]["algorithm"].native)
    if digest not in _HASHES.values():
        raise BadApk("a signature block uses a digest that Android refuses")
    return certificate, digest, bytes(signer["signature"].native), _covered(signer, digest, data)


def _covered(signer: Any, digest: Hash, data: bytes) -> bytes:
    """What the signature is of: the data, or the signed attributes that hold its digest."""
    attributes = signer["signed_attrs"]
    if not attributes.native:
        return data
    found = {one["type"].native: one["values"] for one in attributes}
    if len(found) != len(attributes) or found["message_digest"][0].native != hashlib.new(digest, data).digest():
        raise BadApk("a signature block is not of its signature file")
    # They are signed as a SET, and stored under a tag of their own (section 5.4).
    return b"\x31" + bytes(attributes.dump())[1:]


def _certificate_of(signer: Any, certificates: Any) -> bytes:
    wanted = signer["sid"].chosen
    for one in certificates:
        certificate = one.chosen
        if (certificate.issuer, certificate.serial_number) == (wanted["issuer"], wanted["serial_number"].native):
            return bytes(certificate.dump())
    raise BadApk("a signature block lacks its signer's certificate")
