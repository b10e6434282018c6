"""The demo's devices: the device host that the tests use, in a checkout on a machine where a container engine can run.

It is an engine of the demo's own on a private socket, never the user's, and ends with the demo. Elsewhere the jobs are
fed all the same and end failed with the reason in words: nothing is simulated.
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloudq_tui.models.job import JobOptions
from tasks.service import QueueService

_TESTS = Path(__file__).parents[1] / "tests/processors/device"
_DEVICES = tuple(f"demo-{number}" for number in range(1, 7))
_USER = "demo"
_PREFIX = "cqd-demo-"
_SETTLED = 60.0  # seconds after which a folder that is made has its mark, and an engine has ended

log = logging.getLogger("cloudq.demo")


@contextmanager
def device_environment(folder: Path) -> Iterator[dict[str, str]]:
    """What a worker needs for the devices. They come up beside the demo; what is asked before that is retried."""
    _sweep()
    with ExitStack() as stack:
        # A short name: socket paths end at 107 bytes.
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)))
        stack.enter_context(_marked(own))
        environment = {
            "CLOUDQ_DEVICES__DOCKER_URL": f"unix://{own}/docker.sock",
            "CLOUDQ_DEVICES__DATA_ROOT": str(own / "devices"),
            "CLOUDQ_DEVICES__DOWNLOAD__FOLDER": str(folder / "downloads"),
            "CLOUDQ_DEVICES__ADB__START": "false",
            "CLOUDQ_DEVICES__CAPACITY__CPU": "4",
            "CLOUDQ_DEVICES__DEFAULTS__CPU": "1",
            "CLOUDQ_DEVICES__DEFAULTS__MEMORY": "64m",
            "CLOUDQ_DEVICES__DEFAULTS__STORAGE": "64m",
        }
        servers = _servers()
        if servers is not None:
            port = servers.free_port()
            environment |= {
                "CLOUDQ_DEVICES__ADB__PORT": str(port),
                "CLOUDQ_DEVICES__IMAGE": servers.IMAGE,
                "CLOUDQ_DEVICES__NETWORKS": servers.NETWORK,
                "CLOUDQ_DEVICES__DEFAULTS__NETWORK": servers.NETWORK,
            }
            stack.enter_context(_host(servers, own, port))
        yield environment


@contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Hold the lock that marks the folder of a living demo and falls with it. Raises OSError when another has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep() -> None:
    """Remove what a demo that was killed left behind: its engine has ended with it, its folder has not."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), _marked(left):
            found = left.stat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > _SETTLED:
                shutil.rmtree(left, ignore_errors=True)


def _servers() -> Any:
    """The tests' servers; None outside a checkout and where no engine can run."""
    if not (_TESTS / "engine_server.py").is_file():
        return None
    sys.path.append(str(_TESTS))
    try:
        servers = importlib.import_module("engine_server")
    finally:
        sys.path.remove(str(_TESTS))
    return None if servers.lacking() else servers


@contextmanager
def _host(servers: Any, folder: Path, port: int) -> Iterator[None]:
    """Run the engine and the ADB server from a thread while the block runs: nobody waits for an image."""
    leave = threading.Event()

    def run() -> None:
        try:
            with servers.running_engine(folder) as url, servers.running_adb(folder, port):
                if not leave.is_set():
                    servers.import_device_image(url)
                leave.wait()
        except Exception:  # a demo without devices is still a demo; its jobs say what is lacking
            log.warning("no devices in this demo", exc_info=True)

    thread = threading.Thread(target=run, name="demo-devices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join(timeout=30)


class DeviceFeed:
    """Starts, stops and restarts a handful of devices, more of them than the host can hold at once."""

    def __init__(self, service: QueueService, chance: random.Random) -> None:
        self._service = service
        self._random = chance

    def opening(self) -> None:
        for device in _DEVICES[:3]:
            self._service.start_device(device, _USER, {"dpi": 240}, options=JobOptions(delay=timedelta(seconds=12)))

    def round(self) -> None:
        if self._random.random() > 0.15:
            return
        device = self._random.choice(_DEVICES)
        act = self._random.choices(("start", "stop", "restart"), weights=(4, 3, 1))[0]
        getattr(self._service, f"{act}_device")(device, _USER)
