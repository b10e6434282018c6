"""A link to a server that the test may slow down, cut, and bring back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Forwards a loopback port to a unix socket. `delay` is the seconds each piece of data takes either way."""

    def __init__(self, path: str) -> None:
        self.delay = 0.0
        self.up = True
        self._path = path
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, in the middle of whatever they carry; new ones are refused until `mend`."""
        self.up = False
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.up = True

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                far = socket.socket(socket.AF_UNIX)
                try:
                    if not self.up:
                        raise ConnectionRefusedError
                    far.connect(self._path)
                except OSError:
                    near.close()
                    far.close()
                    continue
                self._ends |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                target.sendall(data)
        self._ends -= {source, target}
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
