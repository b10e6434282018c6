"""A real Redis Cluster of three nodes without replicas, on loopback ports of this test process."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

_BUS = 10_000  # a node's bus listens this far above its port
_SLOTS = 16384


class ClusterNodes:
    """Three masters that share the slots; each is started in a folder of its own and ended by its pid."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder
        self.binary = binary
        self.ports = _free_ports(3)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        """Start and join the nodes, and wait until each of them says that the cluster is whole."""
        for port in self.ports:
            self.start_node(port)
        step = _SLOTS // 3
        for at, port in enumerate(self.ports):
            with self.node(port) as node:
                first, last = at * step, (_SLOTS if at == 2 else (at + 1) * step) - 1
                node.execute_command("CLUSTER", "ADDSLOTS", *range(first, last + 1))
                node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        with self.node(self.ports[0]) as node:
            for port in self.ports[1:]:
                node.execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        self.wait_until_whole()

    def start_node(self, port: int) -> None:
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1000,
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        with (folder / "log").open("ab") as log:
            self.processes[port] = subprocess.Popen([self.binary, *arguments], stdout=log, stderr=log)
        _wait(lambda: self._answers(port), f"node {port} did not answer: {folder / 'log'}")

    def stop_node(self, port: int) -> None:
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for port in list(self.processes):
            self.stop_node(port)

    def node(self, port: int) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=port, socket_timeout=2)

    def empty(self) -> None:
        for port in self.ports:
            with self.node(port) as node:
                node.flushall()

    def begin_move(self, slot: int, source: int, target: int) -> None:
        """From now on the source sends away who asks for a key of the slot that it does not hold."""
        self._set_slot(target, slot, "IMPORTING", self._name(source))
        self._set_slot(source, slot, "MIGRATING", self._name(target))

    def end_move(self, slot: int, source: int, target: int) -> None:
        """The slot is the target's, and every node knows it."""
        others = [port for port in self.ports if port not in (source, target)]
        for port in (target, source, *others):
            self._set_slot(port, slot, "NODE", self._name(target))

    def _name(self, port: int) -> str:
        with self.node(port) as node:
            return node.execute_command("CLUSTER", "MYID").decode()

    def _set_slot(self, port: int, slot: int, what: str, name: str) -> None:
        with self.node(port) as node:
            node.execute_command("CLUSTER", "SETSLOT", slot, what, name)

    def wait_until_whole(self) -> None:
        _wait(lambda: all(self._whole(port) for port in self.ports), "the cluster did not become whole")

    def _whole(self, port: int) -> bool:
        with self.node(port) as node:
            try:
                info = str(node.execute_command("CLUSTER", "INFO"))
                return "ok" in info.split("cluster_state")[1][:8] and len(node.execute_command("CLUSTER", "SLOTS")) == 3
            except redis.RedisError:
                return False

    def _answers(self, port: int) -> bool:
        with self.node(port) as node:
            try:
                return bool(node.ping())
            except redis.RedisError:
                assert self.processes[port].poll() is None, (self.folder / str(port) / "log").read_text()
                return False


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with their bus ports; below the range that outgoing connections take."""
    found: list[int] = []
    for port in random.sample(range(20_000, 30_000), 2000):
        if all(_is_free(one) for one in (port, port + _BUS)):
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports for a cluster")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
