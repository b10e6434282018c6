"""A narrow client of an ADB server and the devices behind it, over adbutils' connections.

adbutils opens connections and speaks to the server; what runs over them (shell with its exit status, files) is
here, because its own forms leave out timeouts, send only part of a chunk under one, and grow with the square of
what a command prints. TemporaryFailure may pass by itself, PermanentFailure will not.
"""

from __future__ import annotations

import math
import os
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from adbutils import AdbClient, AdbDevice, adb_path
from adbutils.errors import AdbError, AdbTimeout

from cloudq_tui.errors import PermanentFailure, TemporaryFailure
from tasks.contacts import peer_words

_CHUNK = 64 * 1024  # the most one DATA packet of the sync protocol may carry
_MOST_OUTPUT = 4 * 1024**2
_MOST_PACKET = 1024**2  # an honest device sends no longer one
_SHORTEST = 0.05
_OFFLINE_PATIENCE = 3.0  # seconds a transport may stay offline before it is taken for a dead one
_CONNECT = 3.0  # seconds for one knock; a device that boots late is knocked at again
_STDOUT, _STDERR, _EXIT = 1, 2, 3  # packets of shell protocol 2


class NoAdbServer(TemporaryFailure):
    """Nothing listens where the ADB server should be: waiting for a device would be in vain."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command on a device printed, and its exit status."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class AdbServer:
    """Where the ADB server is; `start` allows to start one on this host. `timeout` in seconds for any one wait."""

    host: str = "127.0.0.1"
    port: int = 5037
    start: bool = True
    timeout: float = 15.0

    def link(self, serial: str, time_remaining: Callable[[], float] = lambda: math.inf) -> AdbLink:
        """The device that listens at `serial` (HOST:PORT); nothing is connected yet."""
        return AdbLink(self, serial, time_remaining)

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


class AdbLink:
    """One device over one ADB server; `time_remaining` bounds every wait (seconds)."""

    def __init__(self, server: AdbServer, serial: str, time_remaining: Callable[[], float]) -> None:
        self._server = server
        self.serial = serial
        self._time_remaining = time_remaining
        self._client = AdbClient(server.host, server.port, socket_timeout=server.timeout)
        self._offline_since: float | None = None

    # connecting -------------------------------------------------------------------------------------------

    def connected(self) -> bool:
        """Connect unless that stands already; False while the device is not ready. Never waits for it to boot.

        `adb connect` tells success by its text alone, and calls a dead transport "already connected"; so only
        the state counts, and one that stays offline is dropped before the next try.
        """
        state = self.state()
        if state == "device":
            self._offline_since = None
            return True
        now = time.monotonic()
        if state and self._offline_since is None:
            self._offline_since = now
        if state and now - (self._offline_since or now) < _OFFLINE_PATIENCE:
            return False
        if state:
            self.disconnect()
        with self._calling("connect", _CONNECT) as limit:
            self._client.connect(self.serial, timeout=limit)
        self._offline_since = None
        return self.state() == "device"

    def state(self) -> str:
        """`device`, `offline`, `unauthorized`, ...; "" when the server does not know the serial."""
        with self._calling("devices") as limit, self._client.make_connection(timeout=limit) as connection:
            connection.send_command("host:devices")
            connection.check_okay()
            lines = connection.read_string_block().splitlines()
        return next((str(line.split("\t")[1]) for line in lines if line.startswith(f"{self.serial}\t")), "")

    def disconnect(self) -> None:
        """Let the server forget the device. A server that is away has forgotten it."""
        with suppress(TemporaryFailure), self._calling("disconnect"):
            self._client.disconnect(self.serial)

    # commands ---------------------------------------------------------------------------------------------

    def run(self, *words: str, timeout: float | None = None) -> Output:
        """Run a command given as words; each reaches the device as it is, whatever is in it."""
        command = shlex.join(words)
        # Any wait of a command that prints nothing is as long as the command: the limit is of the whole.
        with self._calling(words[0], timeout) as limit:
            return self._shell(command, time.monotonic() + limit)

    def property(self, name: str) -> str:
        return self.run("getprop", name).text.strip()

    def _shell(self, command: str, deadline: float) -> Output:
        text = bytearray()
        with self._transport(deadline) as wire:
            wire.request(f"shell,v2,raw:{command}")
            while True:
                kind, size = struct.unpack("<BI", wire.read(5))
                if size > _MOST_PACKET:
                    raise AdbError(f"the device announces {size} bytes at once")
                data = wire.read(size)
                if kind == _EXIT:
                    return Output(data[0] if data else 255, text.decode(errors="replace"))
                if kind in {_STDOUT, _STDERR} and len(text) < _MOST_OUTPUT:
                    text += data

    def push(self, file: BinaryIO, path: str, progress: Callable[[int], None]) -> None:
        """Copy an open file to `path` on the device; `progress` hears of the bytes gone and may raise."""
        with self._calling("push", math.inf) as limit, self._transport(time.monotonic() + limit) as wire:
            wire.request("sync:")
            target = f"{path},{0o100644}".encode()
            wire.send(struct.pack("<4sI", b"SEND", len(target)) + target)
            sent = 0
            wire.patience = self._server.timeout
            while chunk := file.read(_CHUNK):
                wire.send(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
                sent += len(chunk)
                progress(sent)
            wire.send(struct.pack("<4sI", b"DONE", int(time.time())))
            answer, size = struct.unpack("<4sI", wire.read(8))
            if answer != b"OKAY":
                raise AdbError(wire.read(min(size, 4096)).decode(errors="replace"))

    # faults -----------------------------------------------------------------------------------------------

    @contextmanager
    def _transport(self, deadline: float) -> Iterator[_Wire]:
        device = AdbDevice(self._client, serial=self.serial)
        left = max(_SHORTEST, deadline - time.monotonic())
        connection = device.open_transport(timeout=min(left, self._server.timeout))
        try:
            yield _Wire(connection.conn, deadline)
        finally:
            # Not its own close(), which sleeps; what is closed here has nothing more to say.
            connection.conn.close()

    @contextmanager
    def _calling(self, what: str, timeout: float | None = None) -> Iterator[float]:
        """How long this call may take (seconds), and its faults sorted."""
        limit = max(_SHORTEST, min(self._server.timeout if timeout is None else timeout, self._time_remaining()))
        try:
            step = min(limit, self._server.timeout)
            self._reach_server(step)
            # Most of adbutils' own calls take their timeout from the client alone.
            self._client = AdbClient(self._server.host, self._server.port, socket_timeout=step)
            yield min(limit, 24 * 3600.0)
        except (AdbTimeout, TimeoutError, subprocess.TimeoutExpired) as error:
            waited = min(limit, self._server.timeout) if math.isinf(limit) else limit
            raise TemporaryFailure(f"timeout: ADB of {self.serial}, {what} ({waited:g}s)") from error
        except (AdbError, EOFError, ValueError) as error:
            reason = peer_words(str(error)) or "the connection was lost"
            raise TemporaryFailure(f"ADB of {self.serial}, {what}: {reason}") from error
        except OSError as error:
            raise TemporaryFailure(f"ADB of {self.serial}, {what}: {error.strerror or error}") from error

    def _reach_server(self, limit: float) -> None:
        """Start the server when it is not there: adbutils would start one on its own port, with all its searches."""
        server = self._server
        try:
            socket.create_connection((server.host, server.port), timeout=limit).close()
        except ConnectionRefusedError:
            if not server.start or server.host not in {"127.0.0.1", "localhost", "::1"}:
                raise NoAdbServer(f"no ADB server at {server.place}: start one, or set devices.adb") from None
            start_server(server.port, limit)
        except TimeoutError:
            raise
        except OSError as error:
            reason = error.strerror or error
            raise TemporaryFailure(f"cannot reach the ADB server at {server.place}: {reason}") from error


class _Wire:
    """A socket to a device's service whose every wait ends at a deadline, and after `patience` seconds."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline
        self.patience = math.inf

    def request(self, service: str) -> None:
        data = service.encode()
        if len(data) > 0xFFFF:
            raise PermanentFailure("the command is too long for ADB")
        self.send(b"%04x" % len(data) + data)
        if self.read(4) != b"OKAY":
            raise AdbError(self.read(int(self.read(4), 16)).decode(errors="replace"))

    def send(self, data: bytes) -> None:
        self._arm()
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError, TimeoutError."""
        found = bytearray()
        while len(found) < size:
            self._arm()
            chunk = self._socket.recv(min(size - len(found), 1 << 20))
            if not chunk:
                raise EOFError
            found += chunk
        return bytes(found)

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, self.patience))


def start_server(port: int, timeout: float = 15.0) -> None:
    """Start the ADB server that comes with adbutils, looking for no device by itself.

    Without these variables it opens multicast sockets on every interface, waits seconds for USB, and adopts
    whatever listens on 5555 to 5585. It outlives this process, as ADB's server does.
    """
    environment = os.environ | {"ADB_MDNS": "0", "ADB_LIBUSB": "0", "ADB_EMU": "0"}
    try:
        subprocess.run(  # noqa: S603 - the program is adbutils' own, the port a number
            [adb_path(), "-P", str(port), "start-server"],
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoAdbServer(f"the ADB server cannot be started: {error}") from error
