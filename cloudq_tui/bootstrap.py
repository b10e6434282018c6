"""The one composition root: settings -> Redis -> engine -> operations, for whichever door opens.

Everything below is handed its parts and looks nothing up; everything above asks here. Huey and the task module are
imported only when they are asked for, so that `status` starts without them.
"""

from __future__ import annotations

import getpass
import importlib
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cloudq_tui.engine.connection import Connection, connect
from cloudq_tui.engine.deployment import engine_for, reader_for
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import SettingsError
from cloudq_tui.models.event import Actor
from cloudq_tui.redis_server import EmbeddedRedis
from cloudq_tui.services.catalog import JobDefinition
from cloudq_tui.services.masking import MaskedRecords
from cloudq_tui.services.operations import QueueOperations
from cloudq_tui.settings import Settings, load_settings

if TYPE_CHECKING:
    from cloudq_tui.worker.child import EmbeddedWorker
    from cloudq_tui.worker.huey import CloudqHuey

log = logging.getLogger(__name__)
_MASKED = MaskedRecords()


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one process, and their end. `redis_server` is this process's hold on the embedded Redis."""

    settings: Settings
    engine: QueueEngine
    reader: QueueReader
    operations: QueueOperations
    redis_server: EmbeddedRedis | None = None

    def close(self) -> None:
        """Drop the connections; an embedded Redis stays up for its other users."""
        self.engine.close()
        if self.redis_server is not None:
            self.redis_server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build(
    settings: Settings | None = None,
    *,
    actor: Actor | None = None,
    read_only: bool = False,
    definitions: Iterable[JobDefinition] = (),
) -> Runtime:
    """Everything a front end or a producer needs. Starts the embedded Redis where that is meant; any other is
    first spoken to by the first call.

    Raises SettingsError, and QueueUnavailable when the embedded Redis does not start.
    """
    settings = settings or load_settings()
    actor = actor or default_actor("python")
    connection, redis_server = _connected(settings, warn=actor.door == "python")
    engine, reader = _engine(connection, settings), reader_for(connection, prefix=settings.redis.prefix)
    operations = QueueOperations(
        engine,
        reader,
        settings,
        actor=actor,
        read_only=read_only or settings.dashboard.read_only,
        definitions=definitions,
    )
    return Runtime(settings, engine, reader, operations, redis_server)


def build_huey(settings: Settings | None = None, *, name: str = "cloudq") -> CloudqHuey:
    """A Huey instance on the Redis of the settings, with the settings' queues, leases and time zone."""
    from cloudq_tui.engine.records import Retention  # noqa: PLC0415 - the worker's half, only for who serves
    from cloudq_tui.worker.huey import CloudqHuey  # noqa: PLC0415
    from cloudq_tui.worker.options import LeaseOptions, QueueOptions  # noqa: PLC0415

    settings = settings or load_settings()
    # Huey logs the traceback of every failure, and a mail server's words name the recipient.
    logging.getLogger("huey").addFilter(_MASKED)
    connection, _ = _connected(settings, warn=True)
    worker = settings.worker
    return CloudqHuey(
        name,
        engine=_engine(connection, settings),
        serve_queues=worker.queues,
        queue_options={
            queue: QueueOptions(
                concurrency=own.concurrency,
                per_worker=own.per_worker,
                limiter=(own.limiter.max, own.limiter.duration) if own.limiter else (0, 0),
                retention=Retention(
                    completed_age=own.retention.completed_age * 1000,
                    completed_count=own.retention.completed_count,
                    failed_age=own.retention.failed_age * 1000,
                ),
            )
            for queue, own in settings.queues.items()
        },
        lease_options=LeaseOptions(worker.lease, worker.renew, worker.sweep, worker.max_stalled),
        timezone=settings.zone,
        max_payload=settings.max_payload,
    )


def embedded_worker(settings: Settings) -> EmbeddedWorker:
    """The dashboard's own worker, not started yet; its log lies beside the embedded Redis' data."""
    from cloudq_tui.worker.child import EmbeddedWorker  # noqa: PLC0415

    return EmbeddedWorker(
        settings.worker.task_path,
        options=("-w", str(settings.worker.workers)),
        log_path=settings.redis.data_dir.parent / "worker.log",
    )


def default_actor(door: str) -> Actor:
    """The OS user at this door, and the SSH client they come from where that is known."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    origin = os.environ.get("SSH_CLIENT") or os.environ.get("SSH_CONNECTION") or ""
    return Actor(name=name, door=door, client=origin.split(" ", 1)[0])


def load_definitions(task_path: str) -> tuple[JobDefinition, ...]:
    """What the package of a task path such as `tasks.huey` says can be enqueued: its `DEFINITIONS`, if it has any.

    Raises SettingsError when the package cannot be imported.
    """
    package = task_path.partition(".")[0]
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as huey_consumer finds a task module; last, to shadow nothing
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise SettingsError(f"worker.task_path: cannot import {package!r}: {error}") from error
    return tuple(getattr(module, "DEFINITIONS", ()))


def _connected(settings: Settings, *, warn: bool) -> tuple[Connection, EmbeddedRedis | None]:
    if not settings.redis.is_embedded:
        return connect(settings.redis), None
    if warn and settings.redis.embedded == "auto":
        # Without this a host that lacks REDIS_URL would work alone, unseen.
        log.warning(
            "no Redis is configured: using the private one, %s; set REDIS_URL to share a server",
            settings.redis.address,
        )
    server = EmbeddedRedis(settings.redis.data_dir)
    socket = server.ensure()
    return connect(settings.redis, socket=socket, revive=lambda: server.ensure() == socket), server


def _engine(connection: Connection, settings: Settings) -> QueueEngine:
    overall = settings.worker.limiter
    return engine_for(
        connection,
        prefix=settings.redis.prefix,
        dedupe_ttl=settings.dedupe_ttl * 1000,
        limiter=(overall.max, overall.duration) if overall else (0, 0),
    )
