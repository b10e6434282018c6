"""Signature schemes 2, 3 and 3.1: signers in the signing block, over digests of everything else in the file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from tasks.apk.archive import CHUNK, Layout
from tasks.apk.errors import BadApk
from tasks.apk.keys import MOST_SIGNERS, Algorithm, encoded, public_key, verify

V2, V3, V31 = 0x7109871A, 0xF05368C0, 0x1B93AD61
NAMES = {V2: "v2", V3: "v3", V31: "v3.1"}
ALGORITHMS = {
    0x0101: Algorithm("rsa", "sha256", pss=True),
    0x0102: Algorithm("rsa", "sha512", pss=True),
    0x0103: Algorithm("rsa", "sha256"),
    0x0104: Algorithm("rsa", "sha512"),
    0x0201: Algorithm("ec", "sha256"),
    0x0202: Algorithm("ec", "sha512"),
    0x0301: Algorithm("dsa", "sha256"),
}
_STRIPPED = 0xBEEFF00D  # in scheme 2: which newer scheme signed too
_ROTATED = 0x559F8B02  # in scheme 3: scheme 3.1 signed too, from this SDK on
_FOREVER = 0x7FFFFFFF
_MOST_PARTS = 1000


@dataclass(frozen=True, slots=True)
class BlockSigner:
    """One signer whose signature is good; `digests` by hash name are still to be compared with the file's."""

    certificate: bytes
    digests: dict[str, bytes]
    min_sdk: int
    max_sdk: int
    attributes: dict[int, bytes]


class Fields:
    """Reads what is led by its length; never beyond its own end. Raises BadApk."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise BadApk("its signing block is cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def field(self) -> bytes:
        return self.take(self.number())

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def parts(self) -> list[bytes]:
        """The parts of a list, itself led by its length."""
        inner = Fields(self.field())
        found: list[bytes] = []
        while inner:
            if len(found) == _MOST_PARTS:
                raise BadApk(f"its signing block has a list of more than {_MOST_PARTS}")
            found.append(inner.field())
        return found


def block_signers(scheme: int, value: bytes) -> list[BlockSigner]:
    """The signers of one scheme, each signature checked. Raises BadApk."""
    fields = Fields(value)
    found = [_signer(scheme, part) for part in fields.parts()]
    if fields or not 0 < len(found) <= MOST_SIGNERS:
        raise BadApk(f"its {NAMES[scheme]} block has {len(found)} signers, or more after them")
    return found


def _signer(scheme: int, part: bytes) -> BlockSigner:
    fields = Fields(part)
    signed = fields.field()
    ranged = scheme != V2
    outer = (fields.number(), fields.number()) if ranged else (0, _FOREVER)
    signatures = _numbered(fields.parts())
    key = fields.field()

    inner = Fields(signed)
    digests = _numbered(inner.parts())
    certificates = inner.parts()
    within = (inner.number(), inner.number()) if ranged else outer
    attributes = _numbered(inner.parts()) if inner else {}
    if not certificates or encoded(public_key(certificates[0])) != key:
        raise BadApk("a signer's certificate is not of its key")
    if within != outer or within[0] > within[1]:
        raise BadApk("a signer's range of SDKs is not what it signed")
    if list(digests) != list(signatures):
        raise BadApk("a signer's digests and signatures are not of the same kinds")
    known = {kind: ALGORITHMS[kind] for kind in signatures if kind in ALGORITHMS}
    if not known:
        raise BadApk("a signer uses no algorithm known here")
    owner = public_key(certificates[0])
    for kind, algorithm in known.items():
        verify(owner, algorithm, Fields(signatures[kind]).field(), signed)
    kept: dict[str, bytes] = {}
    for kind, algorithm in known.items():
        digest = Fields(digests[kind]).field()
        if kept.setdefault(algorithm.hash, digest) != digest:
            raise BadApk("a signer's digests contradict each other")
    return BlockSigner(certificates[0], kept, *within, attributes)


def _numbered(parts: list[bytes]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for part in parts:
        fields = Fields(part)
        kind = fields.number()
        if kind in found:
            raise BadApk("a signer names one thing twice")
        found[kind] = fields.rest()
    return found


def check_stripping(schemes: dict[int, list[BlockSigner]]) -> None:
    """Raises BadApk when a newer scheme that an older one speaks of is gone: it was taken out to use the older."""
    for signer in schemes.get(V2, []):
        also = signer.attributes.get(_STRIPPED)
        if also is not None and Fields(also).number() == 3 and V3 not in schemes:
            raise BadApk("its v3 signature was taken out")
    for signer in schemes.get(V3, []):
        if _ROTATED in signer.attributes and V31 not in schemes:
            raise BadApk("its v3.1 signature was taken out")


def check_ranges(signers: list[BlockSigner]) -> None:
    """Raises BadApk unless there is one signer for every SDK from the first to the last."""
    ordered = sorted(signers, key=lambda one: one.min_sdk)
    if any(later.min_sdk != earlier.max_sdk + 1 for earlier, later in pairwise(ordered)):
        raise BadApk("its signers' ranges of SDKs do not follow one another")


def check_contents(file: BinaryIO, layout: Layout, signers: list[BlockSigner], progress: Callable[[int], None]) -> None:
    """Raises BadApk when the file is not what these signers signed. Reads it once; memory stays flat."""
    kinds = {kind for signer in signers for kind in signer.digests}
    actual = _content_digests(file, layout, kinds, progress)
    for signer in signers:
        for kind, digest in signer.digests.items():
            if actual[kind] != digest:
                raise BadApk("it was changed after it was signed")


def _content_digests(
    file: BinaryIO, layout: Layout, kinds: set[str], progress: Callable[[int], None]
) -> dict[str, bytes]:
    """A digest of the digests of every MiB: of the entries, the directory, and the end record.

    The end record is taken as if the directory stood where the signing block does.
    """
    tops = {kind: hashlib.new(kind) for kind in kinds}
    pieces = [-(-length // CHUNK) for length in _lengths(layout)]
    for top in tops.values():
        top.update(b"\x5a" + struct.pack("<I", sum(pieces)))

    def add(chunk: bytes) -> None:
        for kind, top in tops.items():
            top.update(hashlib.new(kind, b"\xa5" + struct.pack("<I", len(chunk)) + chunk).digest())

    done = 0
    for start, length in zip((0, layout.directory), _lengths(layout)[:2], strict=True):
        file.seek(start)
        left = length
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                raise BadApk("it is cut short")
            add(chunk)
            left -= len(chunk)
            done += len(chunk)
            progress(done)
    file.seek(layout.end)
    end = bytearray(file.read(layout.size - layout.end))
    struct.pack_into("<I", end, 16, layout.block)
    add(bytes(end))
    return {kind: top.digest() for kind, top in tops.items()}


def _lengths(layout: Layout) -> tuple[int, int, int]:
    return layout.block, layout.end - layout.directory, layout.size - layout.end
