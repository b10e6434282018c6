"""The device end of ADB over TCP: what adbd is on a phone. Entry point of the tests' device image; stdlib only.

    phone_adbd.py [androidboot.NAME=VALUE | phone.NAME=VALUE]...

phone.port=N listens elsewhere than on 5555, phone.listen=SECONDS late; phone.boot=SECONDS boots late,
phone.boot=never not at all, and phone.boot=crash ends with a word on standard error. Serves shell protocol 2 and sync
SEND, STAT and RECV, as AOSP's docs/dev/adb protocol.md, services.md and sync.md tell them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

VERSION, MAX_DATA = 0x01000001, 1 << 20
CNXN, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
STDOUT, STDERR, EXIT = 1, 2, 3
TOOLS, PROPERTIES = Path("/system/bin"), Path("/system/properties")
KEPT = ("PYTHONHOME", "LD_LIBRARY_PATH")
PYTHON_TOOL = f'exec {sys.executable} -S -s {Path(__file__).with_name("phone_android.py")} $(basename "$0") "$@"'
SCRIPTS = {
    "getprop": 'cat "/system/properties/$1" 2>/dev/null || echo',
    "wm": 'f="/data/screen-$1"; [ $# -gt 1 ] && echo "$2" >"$f" || echo "Override $1: $(cat "$f" 2>/dev/null)"',
    "settings": 'f="/data/setting-$2-$3"; [ "$1" = put ] && printf "%s\\n" "$4" >"$f" || cat "$f" || echo null',
    "pm": PYTHON_TOOL,
    "dumpsys": PYTHON_TOOL,
}


class Stream:
    """One service that the other side opened: bytes in order both ways, each packet acknowledged."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.acknowledged = threading.Semaphore(0)
        self.gone = threading.Event()
        self._buffer = bytearray()
        self._writing = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._writing:
            for start in range(0, len(data), self.connection.max_data):
                if self.gone.is_set():
                    raise ConnectionError
                self.connection.packet(WRTE, self.local, self.remote, data[start : start + self.connection.max_data])
                self.acknowledged.acquire()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.inbox.get()
            if data is None:
                raise ConnectionError
            self._buffer += data
        taken, self._buffer = bytes(self._buffer[:size]), self._buffer[size:]
        return taken

    def close(self) -> None:
        """Forget it: the other side has gone."""
        self.gone.set()
        self.inbox.put(None)
        self.acknowledged.release()


class Connection(threading.Thread):
    """One ADB server's connection, carrying many streams."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__(daemon=True)
        self.peer, self.max_data = peer, 4096
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._sending = threading.Lock()

    def packet(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        check = sum(data) & 0xFFFFFFFF if command == CNXN else 0
        header = struct.pack("<6I", command, first, second, len(data), check, command ^ 0xFFFFFFFF)
        with self._sending:
            self.peer.sendall(header + data)

    def run(self) -> None:
        with contextlib.suppress(OSError), self.peer:
            while True:
                command, first, second, size, _, magic = struct.unpack("<6I", self._receive(24))
                if command ^ magic != 0xFFFFFFFF or size > MAX_DATA:
                    break
                self._handle(command, first, second, self._receive(size))
        for stream in list(self._streams.values()):
            stream.close()

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.peer.recv(size - len(data))
            if not chunk:
                raise ConnectionError
            data += chunk
        return bytes(data)

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if command == CNXN:
            self.max_data = min(second, MAX_DATA)
            banner = "device::ro.product.name=cloudq;ro.product.model=Test;features=shell_v2,fixed_push_mkdir"
            self.packet(CNXN, VERSION, MAX_DATA, banner.encode())
        elif command == OPEN:
            opened = self._streams[self._next] = Stream(self, self._next, first)
            self._next += 1
            threading.Thread(target=self._serve, args=(opened, data.rstrip(b"\0").decode()), daemon=True).start()
        elif command == WRTE and stream:
            stream.inbox.put(data)
            self.packet(OKAY, stream.local, first)
        elif command == OKAY and stream:
            stream.acknowledged.release()
        elif command == CLSE and stream:
            del self._streams[second]
            stream.close()

    def _serve(self, stream: Stream, service: str) -> None:
        kind, _, rest = service.partition(":")
        known = {"shell": shell, "sync": sync}.get(kind.partition(",")[0])
        with contextlib.suppress(OSError):
            if known is not None:
                self.packet(OKAY, stream.local, stream.remote)
                known(stream, rest)
            if self._streams.pop(stream.local, None):
                self.packet(CLSE, stream.local if known else 0, stream.remote)


def shell(stream: Stream, command: str) -> None:
    """Run a command: its output in packets of (kind, size), then its exit status."""
    environment = {
        "PATH": "/system/bin:/bin",
        "HOME": "/data",
        **{k: os.environ[k] for k in KEPT if k in os.environ},
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    def pump(source: int, kind: int) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(source, 65536):
                stream.send(struct.pack("<BI", kind, len(data)) + data)

    def end_with_the_stream() -> None:
        stream.gone.wait()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    assert process.stdout
    assert process.stderr
    pumps = [
        threading.Thread(target=pump, args=(process.stdout.fileno(), STDOUT)),
        threading.Thread(target=pump, args=(process.stderr.fileno(), STDERR)),
    ]
    threading.Thread(target=end_with_the_stream, daemon=True).start()
    for one in pumps:
        one.start()
    for one in pumps:
        one.join()
    stream.send(struct.pack("<BIB", EXIT, 1, process.wait() & 0xFF))


def sync(stream: Stream, _: str) -> None:
    """Files: one request after the other until QUIT."""
    while True:
        what, size = struct.unpack("<4sI", stream.read(8))
        if what == b"QUIT":
            return
        path = stream.read(size).decode()
        if what == b"STAT":
            try:
                status = os.lstat(path)
                found = (status.st_mode, status.st_size & 0xFFFFFFFF, int(status.st_mtime))
            except OSError:
                found = (0, 0, 0)
            stream.send(struct.pack("<4s3I", b"STAT", *found))
        elif what == b"SEND":
            _receive_file(stream, path)
        elif what == b"RECV":
            with Path(path).open("rb") as file:
                while chunk := file.read(65536):
                    stream.send(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
            stream.send(struct.pack("<4sI", b"DONE", 0))
        else:
            _fail(stream, "unknown request")
            return


def _receive_file(stream: Stream, target: str) -> None:
    path, _, mode = target.rpartition(",")
    part = Path(f"{path}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    with part.open("wb") as file:
        while True:
            what, size = struct.unpack("<4sI", stream.read(8))
            if what == b"DONE":
                break
            data = stream.read(size)
            try:
                file.write(data)
            except OSError as error:
                problem = f"write failed: {error.strerror}"
    if problem:
        part.unlink()
        return _fail(stream, problem)
    part.chmod(int(mode) & 0o777)
    part.replace(path)
    return stream.send(struct.pack("<4sI", b"OKAY", 0))


def _fail(stream: Stream, reason: str) -> None:
    stream.send(struct.pack("<4sI", b"FAIL", len(reason)) + reason.encode())


def prepare(given: dict[str, str]) -> None:
    """Write Android's commands, and the properties that the boot arguments set. A boot begins with no others."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    for name, script in SCRIPTS.items():
        (TOOLS / name).write_text(f"#!/bin/sh\n{script}\n")
        (TOOLS / name).chmod(0o755)
    PROPERTIES.mkdir(exist_ok=True)
    for left in PROPERTIES.iterdir():
        left.unlink()
    for key, value in {"ro.build.version.sdk": "34", **given}.items():
        (PROPERTIES / key.replace("androidboot.", "ro.boot.", 1)).write_text(f"{value}\n")


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    boot = given.get("phone.boot", "0")
    if boot == "crash":
        sys.exit("init: cannot mount binder")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    prepare(given)
    if boot != "never":
        threading.Timer(float(boot), (PROPERTIES / "sys.boot_completed").write_text, ["1\n"]).start()
    time.sleep(float(given.get("phone.listen", "0")))
    with socket.create_server(("", int(given.get("phone.port", "5555"))), backlog=16) as listener:
        while True:
            Connection(listener.accept()[0]).start()


if __name__ == "__main__":
    main(sys.argv[1:])
