"""Huey's storage interface over the queue engine: the queue for raw messages, the rest for results and locks.

Huey's own tasks do not pass through `enqueue` and `dequeue` here: CloudqHuey adds and claims them whole, with their
record. These two serve code that speaks to a storage directly; what they hand out is gone from the queue at once,
as with any of Huey's storages.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from huey.constants import EmptyData
from huey.storage import BaseStorage

from cloudq_tui.engine.deployment import reader_for
from cloudq_tui.engine.keyvalue import KeyValueStore
from cloudq_tui.engine.records import ClaimedJob, Finish, NewJob, Outcome, QueueClaim, StoredCall
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.models.job import JobState, new_job_id
from cloudq_tui.worker.tasks import rank_of

if TYPE_CHECKING:
    from cloudq_tui.worker.runs import JobRun


class CloudqStorage(BaseStorage):  # type: ignore[misc]
    """The storage of one instance. `queues` names its queues, `run` is the run that gathers writes, if any."""

    priority = True

    def __init__(
        self,
        name: str,
        engine: QueueEngine,
        *,
        queues: Callable[[], Sequence[str]],
        run: Callable[[], JobRun | None],
        result_ttl: int,
        blocking: bool = True,
    ) -> None:
        super().__init__(name)
        self.blocking = blocking
        self.kv = KeyValueStore(engine.connection, prefix=engine.prefix, space=name)
        self._engine = engine
        self._reader = reader_for(engine.connection, prefix=engine.prefix)
        self._queues = queues
        self._run = run
        self._result_ttl = result_ttl

    def close(self) -> None:
        self._engine.close()

    # --- the queue ---

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        self._engine.add(NewJob(new_job_id(), self.name, "", data, rank=rank_of(priority), keep_completed="0"))

    def dequeue(self) -> bytes | None:
        request = uuid.uuid4().hex
        claimed = self._engine.claim(
            [QueueClaim(self.name, 1)], worker=f"storage-{request}", request=request, lease=15_000, limit=1
        )
        for job in claimed.jobs:
            self._engine.finish([_taken(job)])
            return job.message
        return None

    def queue_size(self) -> int:
        return sum(one.counts.waiting + one.counts.paused for one in self._reader.status(self._queues()))

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        return [call.message for _, call in self.stored(JobState.WAITING, limit)]

    def flush_queue(self) -> None:
        self._clean(JobState.WAITING)

    def stored(self, state: JobState, limit: int | None = None) -> list[tuple[str, StoredCall]]:
        """(queue, call) of waiting or delayed jobs, in the order they will start."""
        found: list[tuple[str, StoredCall]] = []
        for queue in self._queues():
            found += [(queue, call) for call in self._reader.calls(queue, state, limit or None)]
        return found[: limit or None]

    # --- the schedule ---

    def add_to_schedule(self, data: bytes, ts: dt.datetime) -> None:
        delay = max(1, round((ts.timestamp() - time.time()) * 1000))
        self._engine.add(NewJob(new_job_id(), self.name, "", data, delay=delay, keep_completed="0"))

    def read_schedule(self, ts: dt.datetime) -> list[bytes]:  # noqa: ARG002 - the interface's
        """Nothing, always: a claim takes what is due by itself, on the server's clock."""
        return []

    def schedule_size(self) -> int:
        return sum(one.counts.delayed for one in self._reader.status(self._queues()))

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        return [call.message for _, call in self.stored(JobState.DELAYED, limit)]

    def flush_schedule(self) -> None:
        self._clean(JobState.DELAYED)

    def _clean(self, state: JobState) -> None:
        before = self._engine.now()
        for queue in self._queues():
            offset = 0
            while True:
                done = self._engine.clean(queue, state, before=before, offset=offset)
                offset += done.skipped
                if not done.remaining:
                    break

    # --- results, locks, revocations ---

    def put_data(self, key: Any, value: bytes, is_result: bool = False) -> None:
        ttl = self._result_ttl if is_result else 0
        run = self._run()
        if run is not None and run.gathering:
            run.write(_text(key), value, ttl)
        else:
            self.kv.put(_text(key), value, ttl)

    def peek_data(self, key: Any) -> Any:
        return self.peek_many([key]).get(key, EmptyData)

    def peek_many(self, keys: Iterable[Any]) -> dict[Any, bytes]:
        wanted = list(keys)
        run = self._run()
        if run is None or not run.gathering:
            values = self.kv.peek([_text(key) for key in wanted])
        else:
            held = [run.writes.get(_text(key)) for key in wanted]
            others = [_text(key) for key, write in zip(wanted, held, strict=True) if write is None]
            stored = iter(self.kv.peek(others))
            values = [next(stored) if write is None else write.value for write in held]
        return {key: value for key, value in zip(wanted, values, strict=True) if value is not None}

    def pop_data(self, key: Any) -> Any:
        run = self._run()
        if run is not None and run.gathering:
            value = self.peek_data(key)
            run.write(_text(key), None)
            return value
        value = self.kv.pop(_text(key))
        return EmptyData if value is None else value

    def delete_data(self, key: Any) -> bool:
        run = self._run()
        if run is not None and run.gathering:
            run.write(_text(key), None)
            return True
        return self.kv.delete(_text(key))

    def has_data_for_key(self, key: Any) -> bool:
        return self.peek_data(key) is not EmptyData

    def put_if_empty(self, key: Any, value: bytes, ttl: float | None = None) -> bool:
        return self.kv.put_if_empty(_text(key), value, 0 if ttl is None else max(1, round(ttl * 1000)))

    def incr(self, key: Any, amount: int = 1) -> int:
        return self.kv.increment(_text(key), amount)

    def delete_counter(self, key: Any) -> None:
        self.kv.delete_counter(_text(key))

    def result_store_size(self) -> int:
        return self.kv.count()

    def result_items(self) -> dict[str, bytes]:
        return self.kv.items()

    def flush_results(self) -> None:
        self.kv.flush_entries()

    def flush_counters(self) -> None:
        self.kv.flush_counters()

    def flush_all(self) -> None:
        for queue in self._queues():
            self._engine.obliterate(queue)
        self.flush_results()
        self.flush_counters()


def _taken(job: ClaimedJob) -> Finish:
    return Finish(job.queue, job.id, job.token, Outcome.COMPLETED)


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)
