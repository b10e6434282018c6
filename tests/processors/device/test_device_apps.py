"""Applications on a real container engine: signed packages over HTTP, through adb, onto the device and off it."""

from __future__ import annotations

import functools
import http.server
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode knows no packages; the maker stands beside the tests

import apk_maker as maker
from apk_maker import Apk, signer
from device_job import DeviceJob

from cloudq_tui.errors import LeaseLost, PermanentFailure, TemporaryFailure
from tasks.apk import Signers, certificate_hash
from tasks.apk.manifest import Manifest
from tasks.apk.verification import Apk as VerifiedApk
from tasks.clients.adb import AdbLink, AdbServer, Output
from tasks.clients.download import Downloader
from tasks.device_host import DeviceHost
from tasks.payloads import parse_payload
from tasks.payloads.device_operation import InstallApp, StartDevice, StopDevice, UninstallApp
from tasks.processors import device_apps
from tasks.processors.device_apps import install_app, uninstall_app
from tasks.processors.device_operation import start_device, stop_device

pytestmark = pytest.mark.xdist_group("docker")

PACKAGE = "com.example.app"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """Puts a file up for download; its URL."""
    folder = tmp_path / "shop"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def offer(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        return f"http://127.0.0.1:{server.server_address[1]}/{name}"

    yield offer
    server.shutdown()
    server.server_close()


@pytest.fixture
def loader(tmp_path: Path) -> Downloader:
    return Downloader(tmp_path / "downloads", 50_000_000, timeout=5, allow_http=True, allow_private=True)


@pytest.fixture(scope="module")
def started(make_shared_host: Callable[..., DeviceHost]) -> Iterator[tuple[DeviceHost, str]]:
    """One device for all of these tests, and its address."""
    host, job = make_shared_host(), DeviceJob("start")
    address = start_device(parse_payload(StartDevice, {"deviceId": "device-001"}), job, host=host)["address"]
    yield host, address
    stop_device(parse_payload(StopDevice, {"deviceId": "device-001"}), job.again(), host=host)


@pytest.fixture
def host(started: tuple[DeviceHost, str]) -> DeviceHost:
    return started[0]


@pytest.fixture
def device(started: tuple[DeviceHost, str]) -> AdbLink:
    """The device without the package."""
    link = started[0].adb.link(started[1])
    link.run("pm", "uninstall", PACKAGE)
    return link


@pytest.fixture
def install(host: DeviceHost, loader: Downloader, make_job: Callable[..., Any]) -> Callable[..., Any]:
    def run(url: str, job: Any = None, package: str = PACKAGE, **more: Any) -> Any:
        params = {"packageName": package, "apkUrl": url, **more}
        payload = parse_payload(InstallApp, {"deviceId": "device-001", "params": params})
        return install_app(payload, job or make_job("install"), host=host, downloader=loader, install_timeout=20)

    return run


def leftovers(device: AdbLink, loader: Downloader) -> list[str]:
    """Files that an installation left on either side."""
    there = device.run("ls", "/data/local/tmp").text.split() if device.run("ls", "/data/local/tmp").status == 0 else []
    return there + [path.name for path in loader.folder.glob("*")]


def test_an_installation_goes_through_its_steps(
    device: AdbLink, install: Any, shop: Any, make_job: Any, loader: Downloader
) -> None:
    job = make_job("install")
    result = install(shop("app.apk", Apk(code=7).build()), job)
    named = [name for index, name in enumerate(job.steps) if not index or name != job.steps[index - 1]]
    assert named == ["download", "verify", "push", "install", "verify", "done"]
    first = {name: percent for percent, name in reversed(job.progress)}
    assert (first["download"], first["verify"], first["push"], first["install"]) == (20, 40, 60, 80)
    assert (95, "verify") in job.progress
    assert [percent for percent, _ in job.progress] == sorted(percent for percent, _ in job.progress)
    assert (result["package"], result["versionCode"], result["scheme"]) == (PACKAGE, 7, "v3")
    assert "versionCode=7 " in device.run("dumpsys", "package", PACKAGE).text
    assert certificate_hash(signer().der) in device.run("dumpsys", "package", PACKAGE).text
    assert install(shop("app.apk", Apk(code=8).build()), sha256=None)["versionCode"] == 8
    assert install(shop("old.apk", Apk(schemes=[1], target_sdk=29, code=8).build()))["scheme"] == "v1"
    assert leftovers(device, loader) == []


def test_what_the_device_refuses_keeps_its_code(device: AdbLink, install: Any, shop: Any, loader: Downloader) -> None:
    install(shop("app.apk", Apk(code=8).build()))
    with pytest.raises(PermanentFailure, match=r"^INSTALL_FAILED_VERSION_DOWNGRADE: Update version code 7"):
        install(shop("app.apk", Apk(code=7).build()))
    with pytest.raises(PermanentFailure, match=r"^INSTALL_FAILED_UPDATE_INCOMPATIBLE"):
        install(shop("app.apk", Apk(code=9, signers=[signer("two")]).build()))
    assert "versionCode=8 " in device.run("dumpsys", "package", PACKAGE).text
    assert leftovers(device, loader) == []


def test_nothing_reaches_the_device_that_was_not_verified(
    device: AdbLink, install: Any, shop: Any, loader: Downloader
) -> None:
    good = Apk().build()
    tampered = good.replace(b"\xff", b"\xfe", 1)
    for data, words, more in (
        (tampered, "bad APK", {}),
        (maker.without_block(good), "bad APK", {}),
        (b"<html>", "no ZIP file", {}),
        (good, r"the file is com\.example\.app, not com\.other", {"package": "com.other"}),
        (good, "sha256 is", {"sha256": "0" * 64}),
        (Apk(min_sdk=35).build(), "needs SDK 35, the device has 34", {}),
    ):
        with pytest.raises(PermanentFailure, match=words):
            install(shop("app.apk", data), **more)
    with pytest.raises(PermanentFailure, match="answers 404"):
        install(shop("app.apk", good) + "x")
    assert device.run("pm", "path", PACKAGE).text == ""
    assert leftovers(device, loader) == []


@pytest.mark.parametrize("step", ["download", "verify", "push", "install"])
def test_a_killed_installation_ends_well_at_its_next_run(
    step: str, device: AdbLink, install: Any, shop: Any, make_job: Any, loader: Downloader
) -> None:
    url, killed = shop("app.apk", Apk().build()), make_job("install", die_at=step)
    with pytest.raises(LeaseLost):
        install(url, killed)
    assert install(url, killed.again())["versionCode"] == 7
    assert leftovers(device, loader) == []


def test_a_device_that_is_not_running_is_said(host: DeviceHost, loader: Downloader, make_job: Any) -> None:
    params = {"packageName": PACKAGE, "apkUrl": "http://127.0.0.1:1/app.apk"}
    payload = parse_payload(InstallApp, {"deviceId": "device-002", "params": params})
    with pytest.raises(PermanentFailure, match="device-002 is not running: start it first"):
        install_app(payload, make_job(), host=host, downloader=loader, install_timeout=20)


def test_uninstalling(device: AdbLink, install: Any, shop: Any, host: DeviceHost, make_job: Any) -> None:
    install(shop("app.apk", Apk().build()))
    payload = parse_payload(UninstallApp, {"deviceId": "device-001", "params": {"packageName": PACKAGE}})
    job = make_job("uninstall")
    result = uninstall_app(payload, job, host=host, install_timeout=20)
    assert result == {"device": "device-001", "package": PACKAGE, "alreadyAbsent": False}
    assert job.progress == [(20, "check"), (60, "uninstall"), (90, "verify"), (100, "done")]
    assert device.run("pm", "path", PACKAGE).text == ""
    assert uninstall_app(payload, make_job("again"), host=host, install_timeout=20)["alreadyAbsent"] is True


def test_a_device_that_announces_gigabytes_is_not_waited_for(silent_peer: Callable[..., Any]) -> None:
    """It plays the ADB server too: its version to the first connection, a transport and an answer to the second."""
    peer = silent_peer(b"OKAY00040029OKAY" + struct.pack("<BI", 1, 0xFFFFFFFF))
    link = AdbServer(port=peer.port, start=False, timeout=5).link("127.0.0.1:16000")
    with pytest.raises(TemporaryFailure, match="the device announces 4294967295 bytes at once"):
        link.run("getprop", "sys.boot_completed")


# what devices print --------------------------------------------------------------------------------------


class Printing:
    """A link to a device that answers from a table."""

    def __init__(self, **answers: str) -> None:
        self._answers = answers

    def run(self, *words: str, timeout: float | None = None) -> Output:
        return Output(0, self._answers.get(words[0], ""))


ONE = certificate_hash(b"certificate")
ANDROID_14 = f"""Packages:
  Package [com.example.app] (3a1f5d2):
    userId=10153
    versionCode=7 minSdk=24 targetSdk=33
    apkSigningVersion=3
    signatures=PackageSignatures{{8c2e5a3 version:3, signatures:[{ONE}], past signatures:[77aa flags: 17]}}
  Package [com.example.app.other] (1):
    versionCode=9 minSdk=24 targetSdk=33
"""
ANDROID_8 = f"  Package [com.example.app] (3a):\n    versionCode=7\n    signatures=PackageSignatures{{8c2 [{ONE}]}}\n"
SILENT = "  Package [com.example.app] (3a):\n    versionCode=7\n"


@pytest.mark.parametrize(
    ("printed", "problem"),
    [
        ({"dumpsys": ANDROID_14}, ""),
        ({"dumpsys": ANDROID_8}, ""),
        ({"dumpsys": ANDROID_14.replace(ONE, "1234")}, "another signer"),
        ({"dumpsys": ANDROID_14.replace("=7", "=6")}, "reports versionCode 6, the file has 7"),
        ({"dumpsys": SILENT, "pm": "package:/data/app/x.apk\n", "sha256sum": "ab  /data/app/x.apk\n"}, ""),
        ({"dumpsys": SILENT, "pm": "package:/data/app/x.apk\n", "sha256sum": "cd  /data/app/x.apk\n"}, "no signer"),
        ({"dumpsys": "Unable to find package: com.example.app\n"}, "does not report"),
    ],
)
def test_the_devices_report_is_held_against_the_file(printed: dict[str, str], problem: str) -> None:
    signers = Signers("v3", (b"certificate",), 28, 100)
    apk = VerifiedApk(Manifest(PACKAGE, 7), (signers,))
    link: Any = Printing(**printed)
    if not problem:
        device_apps._check_report(link, apk, signers, "ab")
        return
    with pytest.raises((PermanentFailure, TemporaryFailure), match=problem):
        device_apps._check_report(link, apk, signers, "ab")


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("Performing Streamed Install\nSuccess\n", None, ""),
        ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", PermanentFailure, "^INSTALL_FAILED_INSUFFICIENT_STORAGE$"),
        (
            "adb: failed\nFailure [INSTALL_FAILED_ABORTED: Session]",
            TemporaryFailure,
            "^INSTALL_FAILED_ABORTED: Session$",
        ),
        ("Failure [DELETE_FAILED_DEVICE_POLICY_MANAGER]", PermanentFailure, "^DELETE_FAILED_DEVICE_POLICY_MANAGER$"),
        ("cmd: Can't find service: package", TemporaryFailure, "Can't find service"),
        (f"Failure [INSTALL_FAILED_DEXOPT:{' ' * 100_000}x]", PermanentFailure, "^INSTALL_FAILED_DEXOPT: x$"),
    ],
)
def test_the_package_managers_words(said: str, kind: type[Exception] | None, words: str) -> None:
    if kind is None:
        device_apps._installed(Output(0, said))
        return
    with pytest.raises(kind, match=words):
        device_apps._installed(Output(1, said))
