"""`cloudq-tui doctor` as a person runs it: lines, status, what it may write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cloudq_tui.engine.connection import Connection
from cloudq_tui.services.operations import QueueOperations

Shell = Any
MAIL = {"to": "test@example.com", "subject": "Hi"}


@pytest.fixture
def kept(connection: Connection) -> Iterator[Any]:
    """The test server with snapshots announced, so that nothing is wrong with it."""
    connection.client.config_set("save", "86400 1")
    yield connection.client
    connection.client.config_set("save", "")


def test_a_sound_installation(shell: Shell, operations: QueueOperations, kept: Any) -> None:
    operations.enqueue_many("email", "send-email", [MAIL] * 3)
    for arguments in (["doctor"], ["doctor", "--repair"], ["--read-only", "doctor"]):
        said = shell(*arguments)
        assert (said.status, said.err) == (0, "")
        note, verdict = said.out.splitlines()
        assert note.startswith("note      no AOF, only RDB snapshots")
        assert verdict == "healthy; 3 records examined"
    assert operations.audit() == []


def test_a_server_that_keeps_nothing_is_wrong(shell: Shell) -> None:
    said = shell("doctor")
    assert said.status == 1
    assert said.out.splitlines() == [
        "error     neither AOF nor RDB snapshots: a restart of Redis loses every job",
        "1 finding remains; 0 records examined",
    ]


def test_find_and_repair(shell: Shell, operations: QueueOperations, kept: Any) -> None:
    jobs = operations.enqueue_many("email", "send-email", [MAIL] * 3)
    kept.zadd("{cloudq:email}:w", {"\x1b[2Jx": 1})
    kept.zrem("{cloudq:email}:w", jobs[0].id)
    said = shell("doctor")
    assert said.status == 1
    lines = said.out.splitlines()[1:]
    assert lines[0] == "error     email: 1 id in a state without a record (␛[2Jx)"
    assert lines[1] == f"error     email: 1 id with a record but in no state ({jobs[0].id})"
    assert lines[2] == "2 findings remain; 3 records examined"
    body = json.loads(shell("doctor", "--json").out)
    assert (body["healthy"], body["records"]) == (False, 3)
    assert body["findings"][1] == {
        "level": "error",
        "queue": "email",
        "text": "1 id in a state without a record (\x1b[2Jx)",
        "repaired": "",
    }
    said = shell("--read-only", "doctor", "--repair")
    assert (said.status, said.out) == (1, "")
    assert "doctor --repair was refused: this session is read-only" in said.err
    said = shell("doctor", "--repair")
    assert said.status == 0
    assert said.out.splitlines()[1:] == [
        f"repaired  {lines[0].partition('  ')[2].strip()} -> removed",
        f"repaired  {lines[1].partition('  ')[2].strip()} -> waiting again",
        "healthy; 3 records examined",
    ]
    assert shell("doctor", "--repair", "--json").status == 0
    assert operations.count("email", "waiting") == 3
    (entry,) = operations.audit()
    assert (entry.actor.door, entry.action, entry.queue, entry.count) == ("cli", "repair", "email", 2)


def test_redis_away_is_said_and_is_status_1(shell: Shell) -> None:
    said = shell("doctor", CLOUDQ_REDIS__URL="unix:///nowhere/redis.sock")
    assert (said.status, said.err) == (1, "")
    assert "error     Redis at" in said.out
    body = json.loads(shell("doctor", "--json", CLOUDQ_REDIS__URL="unix:///nowhere/redis.sock").out)
    assert body["healthy"] is False


def test_a_key_of_another_kind_is_one_line_that_says_who_names_it(
    shell: Shell, operations: QueueOperations, kept: Any
) -> None:
    operations.enqueue("email", "send-email", MAIL)
    kept.set("{cloudq:sms}:w", "not ours")
    for command in (["jobs", "sms"], ["jobs", "sms", "--json"]):
        said = shell(*command)
        assert said.status == 1
        assert said.err.count("\n") == 1
        assert said.err.endswith("a key holds another kind of value than it must; `cloudq-tui doctor` says which\n")
    assert "key {cloudq:sms}:w holds a string" in shell("doctor").out
