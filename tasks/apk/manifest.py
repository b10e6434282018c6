"""The few facts of a binary AndroidManifest.xml that an installation depends on.

The format is AOSP's frameworks/base/libs/androidfw/include/androidfw/ResourceTypes.h: a string pool, a map from
attribute names to resource ids, then elements. Attributes are taken by their ids, as Android takes them: a name in
the pool can be a lie. Only the package's is a plain name, of no namespace.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.apk.errors import BadApk

_XML, _POOL, _ELEMENT, _END, _MAP = 0x0003, 0x0001, 0x0102, 0x0103, 0x0180
_NODES = range(0x0100, 0x0180)
_STRING, _INTEGERS = 0x03, frozenset({0x10, 0x11})
_VERSION_CODE, _VERSION_MAJOR = 0x0101021B, 0x01010576
_MIN_SDK, _TARGET_SDK = 0x0101020C, 0x01010270
_WANTED = frozenset({"package", _VERSION_CODE, _VERSION_MAJOR, _MIN_SDK, _TARGET_SDK})
_MOST_STRINGS = 100_000
_ATTRIBUTE = 20  # bytes of one
_NOWHERE = 0xFFFFFFFF  # the namespace of a name that has none

Attributes = dict[str | int, str | int]
"""By name or by resource id."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Package, long version code, and the SDK range it is made for."""

    package: str
    version_code: int
    min_sdk: int = 1
    target_sdk: int = 1


def read_manifest(data: bytes) -> Manifest:
    """Raises BadApk."""
    try:
        return _read(data)
    except (struct.error, IndexError, UnicodeDecodeError, KeyError, ValueError):
        raise BadApk("its manifest cannot be read") from None


def _read(data: bytes) -> Manifest:
    strings: list[str] = []
    ids: tuple[int, ...] = ()
    found: dict[str, Attributes] = {}
    seen: set[int] = set()
    depth = 0
    for kind, header, chunk in _chunks(data):
        if kind in {_POOL, _MAP} and (kind in seen or seen.intersection(_NODES)):
            raise BadApk("its manifest has a table twice, or too late")  # readers take different ones
        seen.add(kind)
        if kind == _POOL:
            strings = _strings(chunk, header)
        elif kind == _MAP:
            ids = struct.unpack_from(f"<{(len(chunk) - header) // 4}I", chunk, header)
        elif kind == _ELEMENT:
            _keep(found, depth, *_element(chunk, header, strings, ids))
            depth += 1
        elif kind == _END:
            depth -= 1
    return _facts(found)


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, size of its header, and bytes of every part of the document."""
    kind, at, size = struct.unpack_from("<HHI", data)
    if kind != _XML or size > len(data):
        raise BadApk("its manifest is not binary XML")
    while at < size:
        kind, header, length = struct.unpack_from("<HHI", data, at)
        if length < 8 or at + length > size:
            raise BadApk("its manifest is cut short")
        yield kind, header, data[at : at + length]
        at += length


def _keep(found: dict[str, Attributes], depth: int, name: str, attributes: Attributes) -> None:
    """Keep what an element says if it stands where Android looks: the root, and uses-sdk directly below it."""
    if not found and name != "manifest":
        raise BadApk("its manifest begins with something else")
    if depth != (1 if name == "uses-sdk" else 0):
        return
    if name in found:
        raise BadApk(f"its manifest has two of {name[:100]}")
    found[name] = attributes


def _facts(found: dict[str, Attributes]) -> Manifest:
    root, uses = found.get("manifest", {}), found.get("uses-sdk", {})
    package = root.get("package")
    if not isinstance(package, str) or not package:
        raise BadApk("its manifest names no package")

    def number(attributes: Attributes, key: int, default: int) -> int:
        value = attributes.get(key, default)
        return value if isinstance(value, int) else default

    low, high = number(root, _VERSION_CODE, 0), number(root, _VERSION_MAJOR, 0)
    least = number(uses, _MIN_SDK, 1)
    return Manifest(package, high << 32 | low, least, number(uses, _TARGET_SDK, least))


def _element(chunk: bytes, header: int, strings: list[str], ids: tuple[int, ...]) -> tuple[str, Attributes]:
    _, name, first, width, count = struct.unpack_from("<IIHHH", chunk, header)
    if count and width < _ATTRIBUTE:
        raise BadApk("the attributes of its manifest overlap")
    attributes: Attributes = {}
    for index in range(count):
        where = header + first + index * width
        space, key, _, _, typed, value = struct.unpack_from("<IIIHxBI", chunk, where)
        identities = {strings[key] if space == _NOWHERE else "", ids[key] if key < len(ids) else 0}
        for identity in identities & _WANTED:
            if identity in attributes:
                raise BadApk("its manifest says one thing twice")
            attributes[identity] = strings[value] if typed == _STRING else value if typed in _INTEGERS else ""
    return strings[name], attributes


def _strings(chunk: bytes, header: int) -> list[str]:
    count, _, flags, start = struct.unpack_from("<4I", chunk, 8)
    if count > _MOST_STRINGS:
        raise BadApk("its manifest has too many strings")
    offsets = struct.unpack_from(f"<{count}I", chunk, header)
    decode = _utf8 if flags & 0x100 else _utf16
    found, length = [], 0
    for offset in offsets:
        found.append(decode(chunk, start + offset))
        length += len(found[-1])
        if length > len(chunk):
            raise BadApk("the strings of its manifest overlap")
    return found


def _utf8(chunk: bytes, at: int) -> str:
    _, at = _length(chunk, at, "<B", 0x80, 8)  # the count of characters comes first, then that of bytes
    size, at = _length(chunk, at, "<B", 0x80, 8)
    return _exactly(chunk, at, size).decode()


def _utf16(chunk: bytes, at: int) -> str:
    size, at = _length(chunk, at, "<H", 0x8000, 16)
    return _exactly(chunk, at, size * 2).decode("utf-16-le")


def _length(chunk: bytes, at: int, form: str, more: int, bits: int) -> tuple[int, int]:
    width = bits // 8
    (value,) = struct.unpack_from(form, chunk, at)
    if not value & more:
        return value, at + width
    (low,) = struct.unpack_from(form, chunk, at + width)
    return (value & ~more) << bits | low, at + 2 * width


def _exactly(chunk: bytes, at: int, size: int) -> bytes:
    if at + size > len(chunk):
        raise IndexError
    return chunk[at : at + size]
