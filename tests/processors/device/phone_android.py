"""The package manager of the tests' device: pm and dumpsys. stdlib only.

Run under a command's name by the wrappers that phone_adbd.py writes. What they change is in a file below /data, so
that it outlives a restart and ends with a wipe, as on a phone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = Path("/data/system/state.json")
BLOCK_IDS = (0x1B93AD61, 0xF05368C0, 0x7109871A)


@contextmanager
def state() -> Iterator[dict[str, Any]]:
    """What the device remembers; one command at a time."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with STATE.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        kept = json.loads(file.read() or "{}")
        kept.setdefault("packages", {})
        yield kept
        file.seek(0)
        file.truncate()
        json.dump(kept, file)


def dumpsys(kept: dict[str, Any], arguments: list[str]) -> str:
    found = kept["packages"].get(arguments[-1])
    if arguments[0] != "package" or found is None:
        return f"Unable to find package: {arguments[-1]}\n"
    return (
        f"Packages:\n  Package [{arguments[-1]}] (4f1c2ab):\n    codePath={Path(found['path']).parent}\n"
        f"    versionCode={found['code']} minSdk=24 targetSdk=34\n    versionName=1\n"
        f"    signatures=PackageSignatures{{9c81a2 version:2, signatures:[{found['signer']}], past signatures:[]}}\n"
    )


def pm(kept: dict[str, Any], arguments: list[str]) -> str:
    verb, *rest = arguments
    name = rest[-1]
    packages = kept["packages"]
    if verb == "install":
        return install(packages, name)
    if verb == "uninstall":
        if packages.pop(name, None) is None:
            return "Failure [DELETE_FAILED_INTERNAL_ERROR]\n"
        shutil.rmtree(f"/data/app/{name}")
        return "Success\n"
    if verb == "path" and name in packages:
        return f"package:{packages[name]['path']}\n"
    return ""


def install(packages: dict[str, Any], path: str) -> str:
    """As `pm install -r`: refuses an older version and another signer."""
    try:
        data = Path(path).read_bytes()
        with zipfile.ZipFile(path) as archive:
            name, code = manifest(archive.read("AndroidManifest.xml"))
            signer = java_hash(first_certificate(data, archive))
    except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile) as error:
        return f"Failure [INSTALL_PARSE_FAILED_NOT_APK: {error}]\n"
    old = packages.get(name)
    if old and old["code"] > code:
        return f"Failure [INSTALL_FAILED_VERSION_DOWNGRADE: Update version code {code} is older than {old['code']}]\n"
    if old and old["signer"] != signer:
        return f"Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: Existing package {name} signatures do not match]\n"
    kept = Path(f"/data/app/{name}/base.apk")
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, kept)
    digest = hashlib.sha256(data).hexdigest()
    packages[name] = {"path": str(kept), "code": code, "signer": signer, "sha256": digest}
    return "Success\n"


def manifest(data: bytes) -> tuple[str, int]:
    """Package and versionCode of a binary manifest: a string pool, then elements with their attributes."""
    strings: list[str] = []
    at = 8
    while at < len(data):
        kind, header, size = struct.unpack_from("<HHI", data, at)
        if kind == 1:
            count, _, flags, start = struct.unpack_from("<4I", data, at + 8)
            offsets = struct.unpack_from(f"<{count}I", data, at + header)
            strings += [_pooled(data, at + start + offset, utf8=bool(flags & 0x100)) for offset in offsets]
        elif kind == 0x102:
            name, first, width, count = struct.unpack_from("<20xIHHH", data, at)
            if strings[name] == "manifest":
                found = {}
                for index in range(count):
                    key, _, typed, value = struct.unpack_from("<4xII3xBI", data, at + 16 + first + index * width)
                    found[strings[key]] = strings[value] if typed == 3 else value
                return str(found["package"]), int(found.get("versionCode", 0))
        at += size
    raise ValueError("no manifest element")


def _pooled(data: bytes, at: int, *, utf8: bool) -> str:
    if utf8:
        at += 2 if data[at] & 0x80 else 1
        return data[at + 1 : at + 1 + data[at]].decode()
    (length,) = struct.unpack_from("<H", data, at)
    return data[at + 2 : at + 2 + 2 * length].decode("utf-16-le")


def first_certificate(data: bytes, archive: zipfile.ZipFile) -> bytes:
    """The signer's certificate (DER), from the signing block or, without one, from META-INF."""
    end = archive.start_dir
    if data[end - 16 : end] == b"APK Sig Block 42":
        (size,) = struct.unpack_from("<Q", data, end - 24)
        at, pairs = end - size, {}
        while at < end - 24:
            (length,) = struct.unpack_from("<Q", data, at)
            pairs[struct.unpack_from("<I", data, at + 8)[0]] = data[at + 12 : at + 8 + length]
            at += 8 + length
        block = next(pairs[one] for one in BLOCK_IDS if one in pairs)
        signed = _field(_field(_field(block, 0), 0), 0)
        return _field(_field(signed, 1), 0)
    for name in archive.namelist():
        if name.startswith("META-INF/") and name.endswith((".RSA", ".EC")):
            return _pkcs7_certificate(archive.read(name))
    raise ValueError("no certificates")


def _field(data: bytes, index: int) -> bytes:
    """The index-th of some parts, each led by its length."""
    at = 0
    while True:
        (size,) = struct.unpack_from("<I", data, at)
        if index == 0:
            return data[at + 4 : at + 4 + size]
        at, index = at + 4 + size, index - 1


def _pkcs7_certificate(data: bytes) -> bytes:
    content = _der(_der(_der(data, 0)[1], 1)[1], 0)[1]
    whole, _ = _der(_der(content, 3)[1], 0)
    return whole


def _der(data: bytes, index: int) -> tuple[bytes, bytes]:
    """The index-th element of some DER: with its header, and its content alone."""
    at = 0
    while True:
        size, start = data[at + 1], at + 2
        if size & 0x80:
            size, start = int.from_bytes(data[start : start + (size & 0x7F)], "big"), start + (size & 0x7F)
        if index == 0:
            return data[at : start + size], data[start : start + size]
        at, index = start + size, index - 1


def java_hash(data: bytes) -> str:
    """Arrays.hashCode, in hexadecimal: how Android prints a signature."""
    value = 1
    for byte in data:
        value = (31 * value + (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
    return f"{value:x}"


def main(name: str, arguments: list[str]) -> None:
    with state() as kept:
        said = (pm if name == "pm" else dumpsys)(kept, arguments)
    sys.stdout.write(said)
    sys.exit(1 if said.startswith(("Failure", "Error")) else 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
