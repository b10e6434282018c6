"""Packages good and tampered with at every joint.

CLOUDQ_FULL=1 asks apksigner (apt-get install apksigner) for its verdict on each of them too, and has it sign some.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the maker stands beside the tests

import apk_maker as maker
from apk_maker import Apk, signer

from tasks.apk import BadApk, certificate_hash, verify_apk
from tasks.apk.block import BlockSigner
from tasks.apk.lineage import check_lineage
from tasks.apk.manifest import read_manifest

FULL = os.environ.get("CLOUDQ_FULL") == "1"


def apksigner_takes(data: bytes, folder: Path) -> bool:
    (folder / "it.apk").write_bytes(data)
    command = ["apksigner", "verify", "--min-sdk-version", "24", str(folder / "it.apk")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


BY_SDK = [signer(), signer("two")]
GOOD = {
    "v1": Apk(schemes=[1], target_sdk=29),
    "v1-no-attributes": Apk(schemes=[1], target_sdk=29, pkcs7_options=[pkcs7.PKCS7Options.NoAttributes]),
    "v1-ec": Apk(schemes=[1], target_sdk=29, signers=[signer("ec", "ec")]),
    "v1-two": Apk(schemes=[1], target_sdk=29, signers=[signer(), signer("two")]),
    "v1-channel": Apk(schemes=[1], target_sdk=29, alter=lambda entries: entries.update({"META-INF/channel_x": b"x"})),
    "v2": Apk(schemes=[2]),
    "v2-pss": Apk(schemes=[2], algorithm=maker.PSS256),
    "v2-sha512": Apk(schemes=[2], algorithm=maker.RSA512),
    "v2-ec": Apk(schemes=[2], signers=[signer("ec", "ec")], algorithm=maker.EC256),
    "v2-two": Apk(schemes=[2], signers=[signer(), signer("two")]),
    "v3": Apk(schemes=[3], min_sdk=28),
    "v3-rotated": Apk(schemes=[3], min_sdk=28, lineage=[(signer("old"), signer("old")), (signer(), signer("old"))]),
    "v1-v2-v3": Apk(),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_packages(name: str, tmp_path: Path) -> None:
    made = GOOD[name]
    data = made.build()
    apk = verify_apk(io.BytesIO(data))
    assert (apk.manifest.package, apk.manifest.version_code) == ("com.example.app", 7)
    newest = max(made.schemes)
    found = apk.for_sdk(34)
    assert found.scheme == f"v{newest}"
    assert set(found.certificates) == {one.der for one in made.signers}
    if made.schemes == [3]:
        with pytest.raises(BadApk, match="SDK 26"):
            apk.for_sdk(26)
    if FULL and made.algorithm != maker.PSS256:  # Debian's Java knows no SHA256withRSA/PSS
        assert apksigner_takes(data, tmp_path)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def in_payload(made: Apk) -> bytes:
    data = made.build()
    return flipped(data, data.index(b"classes.dex") + 400)


def in_signature(kind: int) -> bytes:
    """The last byte of a signer's key is that of its signing block's pair."""
    data = Apk().build()
    directory, _ = maker.parts_of(data)
    at = data.index(struct.pack("<I", kind), directory - 20_000)
    return flipped(data, at + 30)


def doubled() -> bytes:
    """Two manifests: both entries are as long, so the second takes the first one's name in all its headers."""
    both = {name: maker.manifest("com.example.app", 7) for name in ("AndroidManifest.xml", "AndroidManifest.xmm")}
    return maker.zipped(both).replace(b"AndroidManifest.xmm", b"AndroidManifest.xml")


def by_sdk(first: tuple[int, int], second: tuple[int, int]) -> Callable[[], bytes]:
    return Apk(schemes=[3], min_sdk=28, signers=BY_SDK, ranges=dict(zip(BY_SDK, (first, second), strict=True))).build


def lying_about_the_manifest() -> bytes:
    """The manifest's own header has another size than the directory, and all of it is signed so."""
    bare = bytearray(maker.zipped({"AndroidManifest.xml": maker.manifest("com.example.app", 7)}))
    bare[18] ^= 1
    return Apk(schemes=[2])._with_block(bytes(bare), [2])


OTHER = signer("somebody else")


def rotated(*lineage: tuple[maker.Signer, maker.Signer]) -> Callable[[], bytes]:
    return Apk(schemes=[3], min_sdk=28, lineage=lineage).build


def with_other_header(at: int, size: int) -> bytes:
    """A package of scheme 1 with other bytes in one entry's own header; the directory's are as they were."""
    data = Apk(schemes=[1], target_sdk=29).build()
    start = data.index(b"classes.dex") - 30 + at
    return data[:start] + b"\x01" * size + data[start + size :]


def with_other_count() -> bytes:
    data = bytearray(Apk(schemes=[1], target_sdk=29).build())
    struct.pack_into("<2H", data, data.rindex(b"PK\5\6") + 8, 2, 2)
    return bytes(data)


def with_two_names() -> bytes:
    """Where one reader ends a name at its NUL and another does not, they find different manifests."""
    made = maker.zipped({"AndroidManifest.xmlx": maker.manifest("com.example.app", 7)})
    return made.replace(b"AndroidManifest.xmlx", b"AndroidManifest.xml\0")


def packed_strangely() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("AndroidManifest.xml", maker.manifest("com.example.app", 7))
    return out.getvalue()


def many_signers() -> bytes:
    """A signing block of 16 KB that becomes 4,000 signers, and one of 32 MB as many millions."""
    value = struct.pack("<I", 16_000) + bytes(16_000)
    return maker.with_block(Apk(schemes=[]).build(), struct.pack("<QI", 4 + len(value), maker.V2) + value)


def signed_by(count: int) -> bytes:
    return Apk(schemes=[1], target_sdk=29, signers=[signer()] * count, payload=b"x").build()


def v1(alter: Callable[[dict[str, bytes]], object]) -> Callable[[], bytes]:
    """A package of scheme 1 alone that was altered after it was signed."""
    return Apk(schemes=[1], target_sdk=29, alter=lambda entries: alter(entries) and None).build


def change(name: str, old: bytes, new: bytes) -> Callable[[], bytes]:
    return v1(lambda entries: entries.update({name: entries[name].replace(old, new)}))


def strange_block(entries: dict[str, bytes]) -> None:
    other = Apk(schemes=[1], signers=[OTHER])._jar({"x": b"x"})
    entries["META-INF/CERT0.RSA"] = other["META-INF/CERT0.RSA"]


MANIFEST, SIGNATURE = "META-INF/MANIFEST.MF", "META-INF/CERT0.SF"
TAMPERED: dict[str, tuple[Callable[[], bytes], str]] = {
    "v1 payload": (change("classes.dex", b"dex", b"DEX"), "not as it was"),
    "v1 added": (v1(lambda entries: entries.update({"evil.dex": b"x"})), "not as it was"),
    "v1 gone": (v1(lambda entries: entries.pop("classes.dex")), "is gone"),
    "v1 manifest": (change(MANIFEST, b"classes.dex", b"classez.dex"), "manifest was changed"),
    "v1 signature file": (change(SIGNATURE, b"1.0", b"1.1"), "not of its signature file"),
    "v1 other block": (v1(strange_block), "not of its signature file"),
    "v1 no block": (v1(lambda entries: entries.pop("META-INF/CERT0.RSA")), "no signature block"),
    "v1 header's sizes": (lambda: with_other_header(18, 8), "headers of an entry disagree"),
    "v1 header's method": (lambda: with_other_header(8, 1), "headers of an entry disagree"),
    "v1 too many signers": (lambda: signed_by(11), "more than 10 signers"),
    "v1 endless section": (v1(lambda entries: entries.update({MANIFEST: b"a: b\n" * 60_000})), "manifest is too long"),
    "v1 endless sections": (v1(lambda entries: entries.update({MANIFEST: b"a: b\n\n" * 70_000})), "is too long"),
    "v2 endless list": (many_signers, "a list of more than 1000"),
    "count of entries": (with_other_count, "not what its end record says"),
    "two names": (with_two_names, "an entry has two names"),
    "strange packing": (packed_strangely, "Android does not know"),
    "rotation without a signature": (rotated((OTHER, OTHER), (signer(), signer())), "not that of its signer"),
    "rotation to another": (rotated((signer(), signer()), (OTHER, signer())), "does not lead to its signer"),
    "rotation in a circle": (rotated((signer(), signer()), (OTHER, signer()), (signer(), OTHER)), "a signer twice"),
    "v1 for a new target": (lambda: Apk(schemes=[1], target_sdk=30).build(), "targets SDK 30"),
    "v2 payload": (lambda: in_payload(Apk(schemes=[2])), "changed after it was signed"),
    "v3 payload": (lambda: in_payload(Apk(schemes=[3])), "changed after it was signed"),
    "v2 appended": (lambda: Apk(schemes=[2]).build() + b"x", "ambiguous"),
    "v2 prepended": (lambda: b"PK\3\4" + Apk(schemes=[2]).build(), "does not end at"),
    "dex first": (lambda: b"dex\n035\0" + Apk(schemes=[1], target_sdk=29).build(), "bad APK"),
    "stripped to v1": (lambda: maker.without_block(Apk(target_sdk=29).build()), "newer signature was taken out"),
    "stripped to v2": (lambda: maker.without_block(Apk().build(), maker.V2), "v3 signature was taken out"),
    "v2 manifest's header": (lying_about_the_manifest, "headers of an entry disagree: AndroidManifest"),
    "v3 ranges that overlap": (by_sdk((28, 31), (30, 40)), "do not follow one another"),
    "v3 ranges with a gap": (by_sdk((28, 29), (31, 40)), "do not follow one another"),
    "v2 block": (lambda: in_signature(maker.V2), "bad APK"),
    "v3 block": (lambda: in_signature(maker.V3), "bad APK"),
    "unsigned": (lambda: Apk(schemes=[], target_sdk=29).build(), "not signed"),
    "two manifests": (doubled, "two entries of one name"),
    "no zip": (lambda: b"<html>not found</html>" * 50, "no ZIP file"),
    "empty": (lambda: b"", "no ZIP file"),
    "cut": (lambda: Apk().build()[:-5000], "bad APK"),
}  # fmt: skip


STRICTER = {"v1 header's method", "v1 too many signers"}
"""What Debian's apksigner lets pass: some reader of ZIP files goes by that header; later ones count signers too."""


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_packages(name: str, tmp_path: Path) -> None:
    make, words = TAMPERED[name]
    data = make()
    with pytest.raises(BadApk, match=words):
        verify_apk(io.BytesIO(data))
    if FULL and name not in STRICTER:
        assert not apksigner_takes(data, tmp_path)


def test_each_device_goes_by_its_own_signer() -> None:
    first, second = BY_SDK
    both = Apk(schemes=[2, 3], signers=BY_SDK, ranges={first: (28, 30), second: (31, 33)}).build()
    apk = verify_apk(io.BytesIO(both))
    assert [apk.for_sdk(sdk).scheme for sdk in (24, 27, 28, 33)] == ["v2", "v2", "v3", "v3"]
    assert [apk.for_sdk(sdk).certificates for sdk in (30, 31)] == [(first.der,), (second.der,)]
    with pytest.raises(BadApk, match="for Android of SDK 34"):
        apk.for_sdk(34)  # which knows v3, and so never goes by v2


def test_a_rotation_to_nobody_is_none() -> None:
    with pytest.raises(BadApk, match="does not lead to its signer"):
        check_lineage(BlockSigner(b"x", {}, 28, 40, {maker.ROTATION: struct.pack("<I", 1)}))


def test_no_crooked_byte_is_worse_than_a_bad_package() -> None:
    """Whatever is changed, the answer is a verdict: never another exception, never a good package.

    Each sealed package has one scheme: where v3 covers the whole, the name of the v2 signature beside it counts for
    nothing, with apksigner too.
    """
    chance = random.Random(7)
    sealed = [Apk(schemes=[2], payload=b"x" * 64).build(), Apk(schemes=[3], min_sdk=28, payload=b"x" * 64).build()]
    jar = Apk(schemes=[1], target_sdk=29, payload=b"x" * 64).build()
    for turn in range(400):
        data = sealed[turn % 2]
        with pytest.raises(BadApk):
            verify_apk(io.BytesIO(flipped(data, chance.randrange(len(data)))))
        at = chance.randrange(len(jar))
        for crooked in (flipped(jar, at), jar[: len(jar) - at // 3] + jar[-at // 5 :]):
            try:
                verify_apk(io.BytesIO(crooked))
            except BadApk:
                continue
    plain = maker.manifest("com.example.app", 7)
    for _ in range(2000):
        crooked = bytearray(plain)
        for _ in range(chance.randint(1, 4)):
            crooked[chance.randrange(len(crooked))] = chance.randrange(256)
        try:
            read_manifest(bytes(crooked))
        except BadApk:
            continue


def with_old_sdk(before: bytes, after: bytes) -> bytes:
    """A manifest with a second uses-sdk ahead of its own, between `before` and `after`."""
    plain = maker.manifest("com.example.app", 7, target_sdk=33)
    at = plain.rindex(struct.pack("<HHI", 0x102, 16, 76))
    old = maker.manifest("com.example.app", 7, target_sdk=1)[at : at + 76]
    made = plain[:at] + before + old + END + after + plain[at:]
    return made[:4] + struct.pack("<I", len(made)) + made[8:]


END = struct.pack("<HHIIIII", 0x103, 16, 24, 1, 0xFFFFFFFF, 0xFFFFFFFF, 5)


def test_the_sdks_are_read_where_android_reads_them() -> None:
    around = struct.pack("<HHIIIIIHHHHHH", 0x102, 16, 36, 1, 0xFFFFFFFF, 0xFFFFFFFF, 3, 20, 20, 0, 0, 0, 0)
    assert read_manifest(with_old_sdk(around, END)).target_sdk == 33
    with pytest.raises(BadApk, match="two of uses-sdk"):
        read_manifest(with_old_sdk(b"", b""))


def test_two_tables_are_refused() -> None:
    """Android goes by the last pool ahead of the elements, and by the first map; a good one hides an evil one."""
    good, evil = maker.manifest("com.example.app", 7), maker.manifest("com.another.one", 7)
    pool = slice(8, 8 + struct.unpack_from("<I", good, 12)[0])
    table = slice(pool.stop, pool.stop + 20)
    for made in (
        good[: pool.stop] + evil[pool] + good[pool.stop :],
        good[: table.stop] + good[table] + good[table.stop :],
        good + good[table],
    ):
        with pytest.raises(BadApk, match="a table twice, or too late"):
            read_manifest(made[:4] + struct.pack("<I", len(made)) + made[8:])


def test_few_bytes_do_not_become_many_strings() -> None:
    """Every offset of this pool leads to the one long string: 50,000 of them are 1.5 GB."""
    count, word = 50_000, "x" * 30_000
    size = 28 + 4 * count + 2 + 2 * len(word)
    pool = struct.pack("<HHI5I", 1, 28, size, count, 0, 0, 28 + 4 * count, 0) + bytes(4 * count)
    pool += struct.pack("<H", len(word)) + word.encode("utf-16-le")
    with pytest.raises(BadApk, match="strings of its manifest overlap"):
        read_manifest(struct.pack("<HHI", 3, 8, 8 + size) + pool)


VERSION = struct.pack("<IIIHBBI", 6, 0, 0xFFFFFFFF, 8, 0, 0x10, 7)
PACKAGE = struct.pack("<IIIHBBI", 0xFFFFFFFF, 3, 7, 8, 0, 3, 7)
CROOKED = {
    # A tag of 20 bytes that counts 65,535 attributes: a manifest of such tags takes hours to read.
    "attributes that overlap": (
        struct.pack("<3H", 20, 20, 2),
        struct.pack("<3H", 20, 0, 65535),
        "attributes .* overlap",
    ),
    "a package of another namespace": (PACKAGE, struct.pack("<I", 6) + PACKAGE[4:], "names no package"),
    "two packages": (VERSION, PACKAGE, "one thing twice"),
}


@pytest.mark.parametrize("name", CROOKED)
def test_crooked_manifests(name: str) -> None:
    old, new, words = CROOKED[name]
    plain = maker.manifest("com.example.app", 7)
    assert old in plain
    with pytest.raises(BadApk, match=words):
        read_manifest(plain.replace(old, new))


def test_the_device_prints_a_certificate_as_java_hashes_it() -> None:
    assert certificate_hash(b"") == "1"
    assert certificate_hash(b"abc") == "1ecc1"
    assert certificate_hash(bytes([0xFF])) == "1e"


@pytest.mark.skipif(not FULL, reason="CLOUDQ_FULL=1 asks apksigner")
@pytest.mark.parametrize("flags", [["--v1-signing-enabled", "true"], ["--v1-signing-enabled", "false"]])
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_what_apksigner_signs_is_good(flags: list[str], kind: str, tmp_path: Path) -> None:
    assert shutil.which("apksigner"), "apt-get install apksigner"
    one = signer(f"by apksigner {kind}", kind)
    (tmp_path / "key.pk8").write_bytes(
        one.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (tmp_path / "cert.pem").write_bytes(one.certificate.public_bytes(serialization.Encoding.PEM))
    for scheme in ("1", "2", "3"):
        (tmp_path / "in.apk").write_bytes(Apk(schemes=[], min_sdk=21, target_sdk=29).build())
        chosen = [
            "--v2-signing-enabled",
            str(scheme != "1").lower(),
            "--v3-signing-enabled",
            str(scheme == "3").lower(),
        ]
        if scheme == "1" and "false" in flags:
            continue
        command = [
            "apksigner",
            "sign",
            "--key",
            "key.pk8",
            "--cert",
            "cert.pem",
            *flags,
            *chosen,
            "--out",
            "out.apk",
            "in.apk",
        ]
        subprocess.run([*command[:-3], "--min-sdk-version", "21", *command[-3:]], cwd=tmp_path, check=True)
        with (tmp_path / "out.apk").open("rb") as file:
            found = verify_apk(file).for_sdk(34)
        assert (found.scheme, found.certificates) == (f"v{scheme}", (one.der,))
