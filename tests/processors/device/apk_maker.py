"""Makes APKs as small as they can be, signed by schemes 1, 2 and 3, with the means to tamper at every joint.

Written from the published formats, apart from the code it tests; CLOUDQ_FULL=1 checks it against apksigner.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

V2, V3 = 0x7109871A, 0xF05368C0
STRIPPED, ROTATION = 0xBEEFF00D, 0x3BA06F8C
PSS256, RSA256, RSA512, EC256 = 0x0101, 0x0103, 0x0104, 0x0201
RESOURCE_IDS = {"versionCode": 0x0101021B, "minSdkVersion": 0x0101020C, "targetSdkVersion": 0x01010270}


@dataclass(frozen=True)
class Signer:
    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def public(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(self.key.public_key().public_bytes(serialization.Encoding.DER, form))


@cache
def signer(name: str = "one", kind: str = "rsa") -> Signer:
    """A key and its certificate, the same for a name in one process."""
    key: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=20_000))
        .sign(key, hashes.SHA256())
    )
    return Signer(key, certificate)


def manifest(package: str, code: int, min_sdk: int = 24, target_sdk: int = 33) -> bytes:
    """A binary AndroidManifest.xml."""
    words = [*RESOURCE_IDS, "package", "manifest", "uses-sdk", "http://schemas.android.com/apk/res/android", package]
    data = b"".join(struct.pack("<H", len(word)) + word.encode("utf-16-le") + b"\0\0" for word in words)
    data += b"\0" * (-len(data) % 4)
    offsets, at = [], 0
    for word in words:
        offsets.append(at)
        at += 4 + 2 * len(word)
    strings = 28 + 4 * len(words)
    pool = struct.pack("<HHI5I", 1, 28, strings + len(data), len(words), 0, 0, strings, 0)
    pool += struct.pack(f"<{len(words)}I", *offsets) + data
    ids = struct.pack("<HHI3I", 0x180, 8, 20, *RESOURCE_IDS.values())
    space = words.index("http://schemas.android.com/apk/res/android")

    def element(name: str, *attributes: tuple[str, int, int]) -> bytes:
        body = b"".join(
            struct.pack(
                "<IIIHBBI",
                0xFFFFFFFF if key == "package" else space,
                words.index(key),
                value if typed == 3 else 0xFFFFFFFF,
                8,
                0,
                typed,
                value,
            )
            for key, typed, value in attributes
        )
        head = struct.pack("<HHIII", 0x102, 16, 36 + len(body), 1, 0xFFFFFFFF)
        return head + struct.pack("<IIHHHHHH", 0xFFFFFFFF, words.index(name), 20, 20, len(attributes), 0, 0, 0) + body

    def end(name: str) -> bytes:
        return struct.pack("<HHIIIII", 0x103, 16, 24, 1, 0xFFFFFFFF, 0xFFFFFFFF, words.index(name))

    tree = (
        element("manifest", ("versionCode", 0x10, code), ("package", 3, words.index(package)))
        + element("uses-sdk", ("minSdkVersion", 0x10, min_sdk), ("targetSdkVersion", 0x10, target_sdk))
        + end("uses-sdk")
        + end("manifest")
    )
    # The namespace is declared around the tree: aapt's readers want it, Android does not.
    spaced = struct.pack("<HHIIIII", 0x100, 16, 24, 1, 0xFFFFFFFF, 0xFFFFFFFF, space)
    closed = struct.pack("<HHIIIII", 0x101, 16, 24, 1, 0xFFFFFFFF, 0xFFFFFFFF, space)
    body = pool + ids + spaced + tree + closed
    return struct.pack("<HHI", 3, 8, 8 + len(body)) + body


@dataclass
class Apk:
    """What to make; `schemes` names how it is signed. `alter` gets the entries after their v1 digests were taken."""

    package: str = "com.example.app"
    code: int = 7
    schemes: Sequence[int] = (1, 2, 3)
    signers: Sequence[Signer] = field(default_factory=lambda: (signer(),))
    algorithm: int = RSA256
    min_sdk: int = 24
    target_sdk: int = 33
    payload: bytes = b"dex\n035\0" + bytes(range(256)) * 6000
    alter: Callable[[dict[str, bytes]], None] = lambda _: None
    pkcs7_options: Sequence[pkcs7.PKCS7Options] = ()
    lineage: Sequence[tuple[Signer, Signer]] = ()
    """Scheme 3's proof of rotation: each signer with who vouches for it (nobody reads that of the first)."""
    ranges: Mapping[Signer, tuple[int, int]] = field(default_factory=dict)
    """The SDKs for which a signer signs by scheme 3; all from 28 on unless said."""

    def build(self) -> bytes:
        entries = {
            "AndroidManifest.xml": manifest(self.package, self.code, self.min_sdk, self.target_sdk),
            "classes.dex": self.payload,
            "assets/a long name that needs more than one line of a manifest, since those end at 72 bytes.txt": b"x",
        }
        if 1 in self.schemes:
            entries |= self._jar(entries)
        self.alter(entries)
        data = zipped(entries)
        newer = [scheme for scheme in (2, 3) if scheme in self.schemes]
        return self._with_block(data, newer) if newer else data

    # scheme 1 ---------------------------------------------------------------------------------------------

    def _jar(self, entries: dict[str, bytes]) -> dict[str, bytes]:
        sections = [_section(("Name", name), ("SHA-256-Digest", _b64(data))) for name, data in entries.items()]
        listing = _section(("Manifest-Version", "1.0")) + b"".join(sections)
        newer = ", ".join(str(scheme) for scheme in self.schemes if scheme > 1)
        also = [("X-Android-APK-Signed", newer)] if newer else []
        head = _section(("Signature-Version", "1.0"), ("SHA-256-Digest-Manifest", _b64(listing)), *also)
        parts = [
            _section(("Name", name), ("SHA-256-Digest", _b64(section)))
            for name, section in zip(entries, sections, strict=True)
        ]
        signature = head + b"".join(parts)
        made = {"META-INF/MANIFEST.MF": listing}
        for index, one in enumerate(self.signers):
            block = (
                pkcs7.PKCS7SignatureBuilder()
                .set_data(signature)
                .add_signer(one.certificate, one.key, hashes.SHA256())
                .sign(
                    serialization.Encoding.DER,
                    [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, *self.pkcs7_options],
                )
            )
            kind = "RSA" if isinstance(one.key, rsa.RSAPrivateKey) else "EC"
            made |= {f"META-INF/CERT{index}.SF": signature, f"META-INF/CERT{index}.{kind}": block}
        return made

    # schemes 2 and 3 --------------------------------------------------------------------------------------

    def _with_block(self, data: bytes, newer: Sequence[int]) -> bytes:
        directory, end = parts_of(data)
        digest = content_digest([data[:directory], data[directory:end], data[end:]], self._hash)
        pairs = b""
        for scheme in newer:
            signed = [self._signed(one, scheme, digest, newer) for one in self.signers]
            value = _list(signed)
            pairs += struct.pack("<QI", 4 + len(value), V2 if scheme == 2 else V3) + value
        return with_block(data, pairs)

    @property
    def _hash(self) -> str:
        return "sha512" if self.algorithm == RSA512 else "sha256"

    def _signed(self, one: Signer, scheme: int, digest: bytes, newer: Sequence[int]) -> bytes:
        numbered = struct.pack("<I", self.algorithm) + _field(digest)
        attributes = [struct.pack("<II", STRIPPED, 3)] if scheme == 2 and 3 in newer else []
        sdks = struct.pack("<II", *self.ranges.get(one, (28, 0x7FFFFFFF))) if scheme == 3 else b""
        if scheme == 3 and self.lineage:
            attributes.append(struct.pack("<II", ROTATION, 1) + b"".join(map(_field, self._nodes())))
        data = _list([numbered]) + _list([one.der]) + sdks + _list(attributes)
        signature = struct.pack("<I", self.algorithm) + _field(self._signature(one.key, data))
        return _field(data) + sdks + _list([signature]) + _field(one.public)

    def _nodes(self) -> list[bytes]:
        found = []
        for index, (one, by) in enumerate(self.lineage):
            data = _field(one.der) + struct.pack("<I", self.algorithm if index else 0)
            signature = self._signature(by.key, _field(data)[4:]) if index else b""
            found.append(_field(data) + struct.pack("<II", 0x17, self.algorithm) + _field(signature))
        return found

    def _signature(self, key: Any, data: bytes) -> bytes:
        digest = hashes.SHA512() if self._hash == "sha512" else hashes.SHA256()
        if self.algorithm == EC256:
            return bytes(key.sign(data, ec.ECDSA(digest)))
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return bytes(key.sign(data, pss if self.algorithm == PSS256 else padding.PKCS1v15(), digest))


def zipped(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def parts_of(data: bytes) -> tuple[int, int]:
    """Where the central directory and the end record are."""
    end = data.rindex(b"PK\5\6")
    return struct.unpack_from("<I", data, end + 16)[0], end


def with_block(data: bytes, pairs: bytes) -> bytes:
    """`data`, which has no signing block, with one of these pairs."""
    directory, end = parts_of(data)
    size = struct.pack("<Q", len(pairs) + 24)
    block = size + pairs + size + b"APK Sig Block 42"
    last = bytearray(data[end:])
    struct.pack_into("<I", last, 16, directory + len(block))
    return data[:directory] + block + data[directory:end] + bytes(last)


def without_block(data: bytes, kept: int | None = None) -> bytes:
    """`data` without its signing block, or with only the pair `kept` of it."""
    directory, end = parts_of(data)
    size = struct.unpack_from("<Q", data, directory - 24)[0]
    start = directory - size - 8
    at, pairs = start + 8, b""
    while at < directory - 24:
        length, kind = struct.unpack_from("<QI", data, at)
        pairs += data[at : at + 8 + length] if kind == kept else b""
        at += 8 + length
    last = bytearray(data[end:])
    struct.pack_into("<I", last, 16, start)
    bare = data[:start] + data[directory:end] + bytes(last)
    return with_block(bare, pairs) if pairs else bare


def content_digest(sections: list[bytes], kind: str) -> bytes:
    chunks = [part[at : at + 1048576] for part in sections for at in range(0, len(part), 1048576)]
    digests = [hashlib.new(kind, b"\xa5" + struct.pack("<I", len(chunk)) + chunk).digest() for chunk in chunks]
    return hashlib.new(kind, b"\x5a" + struct.pack("<I", len(chunks)) + b"".join(digests)).digest()


def _field(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _list(parts: list[bytes]) -> bytes:
    return _field(b"".join(_field(part) for part in parts))


def _b64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _section(*lines: tuple[str, str]) -> bytes:
    out = b""
    for key, value in lines:
        line = f"{key}: {value}".encode()
        while len(line) > 70:
            out, line = out + line[:70] + b"\r\n", b" " + line[70:]
        out += line + b"\r\n"
    return out + b"\r\n"
