"""Every way to a server that the settings know, and what is said when there is none."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from cloudq_tui.engine.cluster_connection import ClusterConnection
from cloudq_tui.engine.connection import Connection, connect
from cloudq_tui.engine.deployment import reader_for
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.errors import QueueUnavailable, SettingsError
from cloudq_tui.settings import RedisSettings


def test_a_unix_socket_of_the_settings(redis_url: str) -> None:
    settings = RedisSettings(url=redis_url)  # type: ignore[arg-type]
    made = connect(settings)
    assert QueueReader(made).snapshot(["email"]).redis.version
    made.close()


def test_an_unreachable_server_is_one_clear_line_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    settings = RedisSettings(host="127.0.0.1", port=port, password="s3cret")  # type: ignore[arg-type]
    with pytest.raises(QueueUnavailable) as caught:
        QueueReader(connect(settings)).status(["email"])
    line = str(caught.value)
    assert f"127.0.0.1:{port}" in line
    assert "\n" not in line
    assert "s3cret" not in line


def test_a_silent_server_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = Connection.from_url(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=0.2)
        began = time.monotonic()
        with pytest.raises(QueueUnavailable, match=r"[Tt]imeout"):
            QueueReader(made).status(["email"])
        assert time.monotonic() - began >= 0.2
        made.close()


def test_a_wrong_password_is_told_without_showing_it(connection: Connection, redis_url: str) -> None:
    connection.client.acl_setuser("ops", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
    try:
        settings = RedisSettings(url=redis_url, username="ops", password="wr0ng")  # type: ignore[arg-type]
        with pytest.raises(QueueUnavailable) as caught:
            QueueReader(connect(settings)).status(["email"])
        assert "password" in str(caught.value)
        assert "wr0ng" not in str(caught.value)
        right = RedisSettings(url=redis_url, username="ops", password="right")  # type: ignore[arg-type]
        assert QueueReader(connect(right)).status(["email"])
    finally:
        connection.client.acl_deluser("ops")


def test_a_missing_password_is_named_with_its_variable(connection: Connection, redis_url: str) -> None:
    connection.client.acl_setuser("default", enabled=True, passwords=["+right"], reset_passwords=True)
    try:
        with pytest.raises(QueueUnavailable, match=r"it asks for a password; set REDIS_PASSWORD$"):
            QueueReader(Connection.from_url(redis_url)).status(["email"])
    finally:
        connection.client.acl_setuser("default", enabled=True, nopass=True)


def test_an_unreachable_cluster_is_one_clear_line_at_the_first_call() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    settings = RedisSettings(host="127.0.0.1", port=port, cluster=True, password="s3cret")  # type: ignore[arg-type]
    made = connect(settings)
    for look in (lambda: reader_for(made).status(["email"]), lambda: reader_for(made).known_queues()):
        with pytest.raises(QueueUnavailable) as caught:
            look()
        line = str(caught.value)
        assert f"127.0.0.1:{port} (cluster)" in line
        assert "\n" not in line
        assert "s3cret" not in line
    made.close()


def test_a_cluster_is_not_reached_by_a_socket(redis_url: str) -> None:
    with pytest.raises(SettingsError, match="host and port of one of its nodes"):
        connect(RedisSettings(socket=Path(redis_url.removeprefix("unix://")), cluster=True))
    with pytest.raises(SettingsError, match="not by a socket"):
        ClusterConnection.from_url(redis_url)
