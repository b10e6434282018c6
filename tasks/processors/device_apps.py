"""install-app and uninstall-app.

Both can run twice: what is downloaded in part is gone on with, what is on the device already is put there again, and
what is gone already is a success. Nothing of a file reaches a device before its signature has been verified.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import Any, BinaryIO

from cloudq_tui.errors import JobSignal, PermanentFailure, TemporaryFailure
from cloudq_tui.models.context import JobContext
from tasks.apk import Apk, BadApk, Signers, certificate_hash, verify_apk
from tasks.clients.adb import AdbLink, Output
from tasks.clients.download import Downloader, Request
from tasks.contacts import peer_words
from tasks.device_host import DeviceHost, Operation
from tasks.payloads.device_operation import InstallApp, InstallParams, UninstallApp

Outcome = dict[str, Any]

_FAILURE = re.compile(r"Failure \[([A-Z][A-Z0-9_]*)(?::([^\n]*))?")
# The package manager's own troubles; every other code is a fact of the package or of the device.
_MAY_PASS = frozenset(
    {
        "INSTALL_FAILED_ABORTED",
        "INSTALL_FAILED_INTERNAL_ERROR",
        "INSTALL_FAILED_MEDIA_UNAVAILABLE",
        "INSTALL_FAILED_VERIFICATION_TIMEOUT",
    }
)
_NOT_UP = "Can't find service"


def install_app(
    payload: InstallApp, job: JobContext, *, host: DeviceHost, downloader: Downloader, install_timeout: float
) -> Outcome:
    """Download, verify, push and install one package; the result has the versionCode and the signers' digests."""
    wanted = payload.params
    with host.operation(payload, job) as operation:
        link = operation.ready(operation.running())
        operation.step(20, "download")
        with downloader.fetched(_request(job, operation, wanted)) as file:
            digest = _checked(file, wanted, job)
            operation.step(40, "verify")
            apk, signers = _verified(file, wanted, link, job)
            operation.step(60, "push")
            target = f"/data/local/tmp/cloudq-{hashlib.sha256(job.id.encode()).hexdigest()[:16]}.apk"
            try:
                _push(operation, link, file, target)
                operation.step(80, "install")
                _installed(link.run("pm", "install", "-r", target, timeout=install_timeout))
            finally:
                with suppress(TemporaryFailure):
                    link.run("rm", "-f", target)
        operation.step(95, "verify")
        _check_report(link, apk, signers, digest)
        with suppress(JobSignal):
            operation.step(100, "done")
    return {
        "device": operation.device,
        "package": apk.manifest.package,
        "versionCode": apk.manifest.version_code,
        "scheme": signers.scheme,
        "signers": [hashlib.sha256(one).hexdigest() for one in signers.certificates],
        "sha256": digest,
    }


def uninstall_app(payload: UninstallApp, job: JobContext, *, host: DeviceHost, install_timeout: float) -> Outcome:
    """Remove one package; one that is not there is a success."""
    package = payload.params.package_name
    with host.operation(payload, job) as operation:
        operation.step(20, "check")
        link = operation.ready(operation.running())
        present = bool(_paths(link, package))
        operation.step(60, "uninstall")
        if present:
            _installed(link.run("pm", "uninstall", package, timeout=install_timeout))
        operation.step(90, "verify")
        if _paths(link, package):
            raise TemporaryFailure(f"{package} is still installed")
        with suppress(JobSignal):
            operation.step(100, "done")
    return {"device": operation.device, "package": package, "alreadyAbsent": not present}


# the file -------------------------------------------------------------------------------------------------


def _request(job: JobContext, operation: Operation, wanted: InstallParams) -> Request:
    stored = job.last_checkpoint
    known = isinstance(stored, dict) and stored.get("url") == wanted.apk_url

    def remember(mark: str) -> None:
        job.checkpoint({"url": wanted.apk_url, "mark": mark})

    def progress(done: int, whole: int | None) -> None:
        operation.step(20 + (19 * done / whole if whole else 0), "download")

    return Request(
        wanted.apk_url,
        key=job.id,
        time_remaining=lambda: job.time_remaining,
        mark=str(stored["mark"]) if known else "",
        remember=remember,
        progress=progress,
    )


def _checked(file: BinaryIO, wanted: InstallParams, job: JobContext) -> str:
    """The file's checksum, in hexadecimal. Raises PermanentFailure when another one was asked for."""
    digest = hashlib.sha256()
    while chunk := file.read(1024**2):
        job.check()
        digest.update(chunk)
    if wanted.sha256 is not None and digest.hexdigest() != wanted.sha256.lower():
        raise PermanentFailure(f"the file's sha256 is {digest.hexdigest()}, not the one asked for")
    return digest.hexdigest()


def _verified(file: BinaryIO, wanted: InstallParams, link: AdbLink, job: JobContext) -> tuple[Apk, Signers]:
    """The package and who signed it, as this device sees it."""
    apk = verify_apk(file, lambda _: job.check())
    if apk.manifest.package != wanted.package_name:
        raise PermanentFailure(f"the file is {peer_words(apk.manifest.package, 100)}, not {wanted.package_name}")
    told = link.property("ro.build.version.sdk")
    if not told.isdecimal():
        raise TemporaryFailure("the device does not say which SDK it has")
    if apk.manifest.min_sdk > int(told):
        raise BadApk(f"it needs SDK {apk.manifest.min_sdk}, the device has {told}")
    return apk, apk.for_sdk(int(told))


def _push(operation: Operation, link: AdbLink, file: BinaryIO, target: str) -> None:
    size = max(1, file.seek(0, 2))
    file.seek(0)
    link.push(file, target, lambda sent: operation.step(60 + 19 * sent / size, "push"))


# the device -----------------------------------------------------------------------------------------------


def _installed(output: Output) -> None:
    """Raises with the package manager's own code when it did not succeed."""
    said = output.text.strip()
    if re.search(r"^Success\b", said, re.MULTILINE):
        return
    failure = _FAILURE.search(said)
    if failure is None:
        raise TemporaryFailure(f"the package manager: {peer_words(said) or f'status {output.status}'}")
    code, why = failure[1], peer_words((failure[2] or "").rstrip().removesuffix("]"))
    words = f"{code}: {why}" if why else code
    raise TemporaryFailure(words) if code in _MAY_PASS else PermanentFailure(words)


def _paths(link: AdbLink, package: str) -> list[str]:
    """Where the device has the package's files; none when it is not installed."""
    said = link.run("pm", "path", package).text
    if said.startswith(_NOT_UP):
        raise TemporaryFailure("the package manager is not up")
    return [line.removeprefix("package:").strip() for line in said.splitlines() if line.startswith("package:")]


def _check_report(link: AdbLink, apk: Apk, signers: Signers, digest: str) -> None:
    """Raises when the device reports another version or signer than the file has."""
    package = apk.manifest.package
    said = link.run("dumpsys", "package", package).text
    section = re.search(rf"^ *Package \[{re.escape(package)}\] .*?(?=^ *Package \[|\Z)", said, re.MULTILINE | re.DOTALL)
    if section is None:
        raise TemporaryFailure(f"the device does not report {package}")
    version = re.search(r"\bversionCode=(\d+)", section[0])
    if version is None or int(version[1]) != apk.manifest.version_code:
        has = version[1] if version else "none"
        raise PermanentFailure(f"the device reports versionCode {has}, the file has {apk.manifest.version_code}")
    reported = re.search(r"signatures=PackageSignatures\{[^\[\]]*\[([0-9a-f, ]*)\]", section[0])
    if reported is not None:
        if set(re.findall(r"[0-9a-f]+", reported[1])) != {certificate_hash(one) for one in signers.certificates}:
            raise PermanentFailure(f"the device reports another signer of {package} than the file has")
        return
    # A device that prints no signatures has the very file at least, or it has another.
    paths = _paths(link, package)
    if not paths or link.run("sha256sum", paths[0]).text.split()[:1] != [digest]:
        raise PermanentFailure(f"the device reports no signer of {package}, and has another file than was sent")
