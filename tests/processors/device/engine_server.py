"""A container engine and an ADB server of the tests' own, and the image of the device that runs on them.

Debian's docker.io on a private socket, with nothing of the machine's own configuration, and an image made offline:
busybox, this Python with what it links to, and the two programs of the device end. No Android: that needs binder in
the kernel.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

HERE = Path(__file__).parent
IMAGE = "redroid/redroid:cloudq-test"
NETWORK = "cloudq-test"
_UNUSED = re.compile(
    r"/(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|unittest|distutils|asyncio|multiprocessing"
    r"|email|http|xml|xmlrpc|ctypes|curses|dbm|sqlite3|venv|wsgiref|logging|html|concurrent|json/tool"
    r"|(site|dist)-packages|config-[^/]*)(/|$)|\.opt-[12]\.pyc$|_test|_cjk|_codecs_"
)
_EXTENSIONS = re.compile(
    r"(_socket|select|_struct|math|fcntl|_posixsubprocess|zlib|_json|_sha.*|_md5|_blake2|binascii|array|_bisect"
    r"|_random|_heapq|_opcode|grp|_typing|_contextvars|_queue|_datetime)\."
)
RUNC = """#!/bin/sh
# A privileged container asks for every capability; where this machine's root lacks one itself, runc refuses.
bundle=; before=
for word in "$@"; do
  [ "$before" = --bundle ] && bundle=$word
  case "$word" in --bundle=*) bundle=${word#--bundle=};; esac
  before=$word
done
[ -f "$bundle/config.json" ] && sed -i -e 's/"CAP_SYS_RESOURCE",//g' -e 's/,"CAP_SYS_RESOURCE"//g' "$bundle/config.json"
exec "$(command -v runc)" "$@"
"""


def lacking() -> str:
    """Why no engine can run here; "" when one can."""
    if os.geteuid() != 0:
        return "a container engine needs root"
    missing = [name for name in ("dockerd", "containerd", "runc", "busybox") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed (apt-get install docker.io busybox-static)" if missing else ""


class EngineFailed(Exception):
    """dockerd is installed and did not come up; the message has its last words."""


@contextmanager
def running_engine(folder: Path) -> Iterator[str]:
    """A dockerd below `folder`; yields its URL. Everything it started has ended afterwards."""
    runtime = folder / "runc"
    runtime.write_text(RUNC)
    runtime.chmod(0o755)
    (folder / "daemon.json").write_text("{}")
    url = f"unix://{folder}/docker.sock"
    descriptors = os.sysconf("SC_OPEN_MAX")
    with (folder / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *_dying_with_us(),
                "dockerd",
                *("-H", url),
                *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
                *("--pidfile", f"{folder}/dockerd.pid", "--config-file", f"{folder}/daemon.json"),
                "--bridge=none",  # its name would be that of every other engine's on this machine
                *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
                *("--storage-driver", "overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs"),
                *("--cgroup-parent", "cloudq-test", "--log-level", "warn"),
                *("--default-ulimit", f"nofile={descriptors}:{descriptors}"),
                *("--add-runtime", f"shim={runtime}", "--default-runtime", "shim"),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _await(lambda: _answers(url), process, folder / "dockerd.log")
        _make_network(url)
        yield url
        with docker.APIClient(url, version="auto") as api:
            for container in api.containers(all=True):
                api.remove_container(container["Id"], force=True)
            api.remove_network(NETWORK)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A dockerd that was killed leaves its containerd, which is in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """What an engine leaves mounted: the namespace of the host's network, after a container has shared it."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed([place for place in places if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def _dying_with_us() -> list[str]:
    """What makes a program end when who started it was killed."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _make_network(url: str) -> None:
    """A bridge of this engine's own, so that several test sessions do not take one from another."""
    own = os.getpid() % 200 + 20
    pool = docker.types.IPAMPool(subnet=f"10.123.{own}.0/24", gateway=f"10.123.{own}.1")
    with docker.APIClient(url, version="auto") as api:
        api.create_network(
            NETWORK,
            driver="bridge",
            options={"com.docker.network.bridge.name": f"cq{os.getpid()}"},
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        )


def _answers(url: str) -> bool:
    try:
        # The SDK leaves a socket open that it could not connect.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(url.removeprefix("unix://"))
        with docker.APIClient(url, version="auto", timeout=5) as api:
            return bool(api.ping())
    except (docker.errors.DockerException, OSError):
        return False


def _await(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EngineFailed(f"{process.args[0]} did not come up: {log.read_text()[-1500:]}")  # type: ignore[index]
        time.sleep(0.05)


def import_device_image(url: str) -> None:
    """Make the device's image from this machine's own files."""
    with docker.APIClient(url, version="auto", timeout=120) as api:
        python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        api.import_image_from_data(
            _image(python),
            repository=IMAGE.partition(":")[0],
            tag=IMAGE.partition(":")[2],
            changes=[
                f'ENTRYPOINT ["{python}", "-S", "-s", "/phone/phone_adbd.py"]',
                f"ENV PYTHONHOME={sys.base_prefix} PYTHONDONTWRITEBYTECODE=1 PATH=/system/bin:/bin",
            ],
        )


def _image(python: str) -> bytes:
    out = io.BytesIO()
    stdlib = Path(sysconfig.get_path("stdlib"))
    names: set[str] = set()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(source: str | Path, target: str | None = None) -> None:
            name = str(target or source).lstrip("/")
            if name not in names:
                names.add(name)
                tar.add(os.path.realpath(source), name, recursive=False)

        def link(name: str, to: str) -> None:
            names.add(name)
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            tar.addfile(entry)

        add(str(shutil.which("busybox")), "/bin/busybox")
        for applet in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                link(f"bin/{applet}", "busybox")
        extensions = {path for path in stdlib.glob("lib-dynload/*.so") if _EXTENSIONS.match(path.name)}
        objects = [python, str(shutil.which("busybox")), *map(str, extensions)]
        for path in [python, *_linked(objects)]:
            add(path)
        for path in stdlib.rglob("*"):
            inside = f"/{path.relative_to(stdlib)}"
            compiled = path.parent.name == "lib-dynload"
            if path.is_file() and not _UNUSED.search(inside) and (not compiled or path in extensions):
                add(path, f"{stdlib}{inside}")
        for program in ("phone_adbd.py", "phone_android.py"):
            add(HERE / program, f"/phone/{program}")
        for folder in ("data", "tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    return out.getvalue()


def _linked(objects: list[str]) -> set[str]:
    """Every shared library of some programs, by the path under which they ask for it."""
    said = subprocess.run(["ldd", *objects], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE))


@contextmanager
def running_adb(folder: Path, port: int | None = None) -> Iterator[int]:
    """An ADB server of adbutils' wheel on a free port; yields the port."""
    from adbutils import adb_path

    port = port or free_port()
    environment = os.environ | {
        "ADB_EMU": "0",
        "ADB_LIBUSB": "0",
        "ADB_MDNS": "0",
        "HOME": str(folder),
        "ANDROID_USER_HOME": str(folder),
        "ANDROID_ADB_SERVER_PORT": str(port),
    }
    with (folder / "adb.log").open("ab") as log:
        command = [*_dying_with_us(), adb_path(), "-P", str(port), "server", "nodaemon"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _await(lambda: _listens(port), process, folder / "adb.log")
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
