"""The verdict on one APK.

Every newer scheme it carries must hold; the strongest that a device knows names its signers. Scheme 1 counts only
where there is none newer, as on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from tasks.apk.archive import check_headers, open_entries, read_entry, read_layout
from tasks.apk.block import NAMES, V2, V3, V31, block_signers, check_contents, check_ranges, check_stripping
from tasks.apk.errors import BadApk
from tasks.apk.jar import jar_signers
from tasks.apk.lineage import check_lineage
from tasks.apk.manifest import Manifest, read_manifest

_MANIFEST = "AndroidManifest.xml"
_MOST_MANIFEST = 16 * 1024**2
_FIRST_SDK = {V2: 24, V3: 28, V31: 33}
_V1_TOO_OLD = 30
"""From this target SDK on, Android asks for scheme 2 or newer."""


@dataclass(frozen=True, slots=True)
class Signers:
    """Who signed by one scheme, for devices of some SDKs (both ends included)."""

    scheme: str
    certificates: tuple[bytes, ...]
    min_sdk: int
    max_sdk: int


@dataclass(frozen=True, slots=True)
class Apk:
    """A verified package."""

    manifest: Manifest
    signers: tuple[Signers, ...]

    def for_sdk(self, sdk: int) -> Signers:
        """Whom a device of this SDK takes for its signers. Raises BadApk when it would take nobody."""
        for one in self.signers:
            if one.min_sdk <= sdk <= one.max_sdk:
                return one
        raise BadApk(f"no signature of it is for Android of SDK {sdk}")


def verify_apk(file: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> Apk:
    """Check the whole file; `progress` hears of the bytes read and may raise. Raises BadApk."""
    layout = read_layout(file)
    schemes = {kind: block_signers(kind, layout.pairs[kind]) for kind in (V31, V3, V2) if kind in layout.pairs}
    if V31 in schemes and V3 not in schemes:
        raise BadApk("its v3 signature was taken out")
    check_stripping(schemes)
    for kind in schemes.keys() - {V2}:
        check_ranges(schemes[kind])
    everyone = [signer for signers in schemes.values() for signer in signers]
    for signer in everyone:
        check_lineage(signer)
    if everyone:
        check_contents(file, layout, everyone, progress)
    with open_entries(file) as archive:
        entries = archive.infolist()
        check_headers(file, [one for one in entries if not schemes or one.filename == _MANIFEST])
        manifest = read_manifest(read_entry(archive, _MANIFEST, _MOST_MANIFEST))
        if not schemes:
            if manifest.target_sdk >= _V1_TOO_OLD:
                raise BadApk(f"it targets SDK {manifest.target_sdk} and has no v2 signature or newer")
            certificates = jar_signers(archive, progress)
            return Apk(manifest, (Signers("v1", tuple(certificates), 1, 10_000),))
    found = [
        Signers(NAMES[kind], (signer.certificate,), max(signer.min_sdk, _FIRST_SDK[kind]), signer.max_sdk)
        for kind in (V31, V3)
        for signer in schemes.get(kind, [])
    ]
    if V2 in schemes:
        last = _FIRST_SDK[V3] - 1 if V3 in schemes else 10_000  # a device that knows v3 never goes back
        found.append(Signers("v2", tuple(one.certificate for one in schemes[V2]), _FIRST_SDK[V2], last))
    return Apk(manifest, tuple(found))


def certificate_hash(certificate: bytes) -> str:
    """A certificate as `dumpsys package` prints it: Java's Arrays.hashCode, in hexadecimal."""
    value = 1
    for byte in certificate:
        value = (31 * value + (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
    return f"{value:x}"
