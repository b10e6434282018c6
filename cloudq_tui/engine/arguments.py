"""How the verbs' arguments are laid out for their scripts, and their answers read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudq_tui.engine.records import (
    ClaimedJob,
    ClaimResult,
    Finish,
    KeyWrite,
    NewJob,
    Outcome,
    QueueClaim,
    Retention,
)
from cloudq_tui.errors import InvalidOptions, InvalidPayload
from cloudq_tui.models.job import MAX_RANK, MIN_RANK

_DEFAULT_RETENTION = Retention()


def bounded(message: bytes, limit: int) -> bytes:
    """The stored form of a call. Raises InvalidPayload when it takes more than `limit` bytes."""
    if len(message) > limit:
        reason = f"takes {len(message):,} bytes, max_payload allows {limit:,}; put large data in a file and name that"
        raise InvalidPayload("payload", reason)
    return message


def add_arguments(job: NewJob, dedupe_ttl: int) -> list[Any]:
    """The twelve arguments of include/add.lua. Raises InvalidOptions for a rank outside -1000 to 1000."""
    if not MIN_RANK <= job.rank <= MAX_RANK or job.rank != int(job.rank):
        raise InvalidOptions(f"priority {job.rank} is not an integer from {MIN_RANK} to {MAX_RANK}")
    return [
        job.id,
        job.name,
        job.message,
        int(job.rank),
        job.delay,
        job.retries,
        job.backoff,
        job.timeout,
        dedupe_ttl if job.unique else 0,
        job.keep_completed,
        job.keep_failed,
        int(job.rerun),
    ]


def claim_arguments(
    queues: Sequence[QueueClaim],
    worker: str,
    request: str,
    lease: int,
    limit: int,
    *,
    space: str,
    shared: str,
    limiter: tuple[int, int],
) -> list[Any]:
    """The arguments of include/claim.lua; `limiter` is (starts, ms) over all queues together."""
    args: list[Any] = [request, worker, lease, limit, len(queues), space, shared, *limiter]
    for queue in queues:
        args += [queue.queue, queue.want, queue.concurrency, queue.limit_max, queue.limit_duration]
    return args


def read_claim(answer: Any, queues: Sequence[QueueClaim], request: str) -> ClaimResult:
    """What include/claim.lua returned."""
    now, due, rows = answer
    jobs = []
    for index, job_id, message, revoked, record, name_revoked, checkpoint in rows:
        name, timestamp, rank, retries, failures, stalled, backoff, timeout = record
        jobs.append(
            ClaimedJob(  # by position: it is made for every job
                queues[index - 1].queue,
                job_id.decode(),
                request,
                name.decode(),
                message,
                int(rank),
                int(timestamp),
                now,
                int(retries or 0),
                int(failures or 0),
                int(stalled or 0),
                backoff.decode() if backoff else "",
                int(timeout or 0),
                checkpoint,
                revoked,
                name_revoked,
            )
        )
    return ClaimResult(tuple(jobs), None if due < 0 else due)


def finish_arguments(
    finishes: Sequence[Finish], retention: dict[str, Retention], claim: Sequence[QueueClaim], dedupe_ttl: int
) -> tuple[list[str], list[Any]]:
    """The queues in key order (those of the claim first) and the arguments of finish.lua up to its claim."""
    queues = list(
        dict.fromkeys(
            [queue.queue for queue in claim]
            + [finish.queue for finish in finishes]
            + [job.queue for finish in finishes for job in finish.follow_ups]
            + [member.callback.queue for finish in finishes for member in finish.chords]
        )
    )
    index = {queue: at + 1 for at, queue in enumerate(queues)}
    args: list[Any] = [len(queues)]
    for queue in queues:
        keep = retention.get(queue, _DEFAULT_RETENTION)
        args += [keep.completed_age, keep.completed_count, keep.failed_age]
    args.append(len(finishes))
    for finish in finishes:
        shared, writes = _shared(finish)
        plain = finish.outcome is Outcome.COMPLETED and not (writes or finish.follow_ups or finish.chords)
        args += (
            index[finish.queue],
            finish.id,
            finish.token,
            finish.outcome.value,
            shared,
            finish.result or b"",
            int(not plain),
        )
        if plain:
            continue
        args += (finish.kind.value, finish.error[:500], finish.detail, finish.delay, int(finish.counted))
        args.append(len(writes))
        for write in writes:
            args += [write.key, int(write.value is not None), write.value or b"", write.ttl]
        args.append(len(finish.follow_ups))
        for job in finish.follow_ups:
            args += [index[job.queue], *add_arguments(job, dedupe_ttl)]
        args.append(len(finish.chords))
        for member in finish.chords:
            args += [member.chord, member.index, member.size, member.value]
            args += [index[member.callback.queue], *add_arguments(member.callback, dedupe_ttl)]
    return queues, args


def _shared(finish: Finish) -> tuple[str | int, tuple[KeyWrite, ...]]:
    """How finish.lua is to keep the result, and the writes that are left.

    "" for none; else the ms that Huey's own entry for it, under the job's id and of the same bytes, is kept too.
    """
    if finish.result is None:
        return "", finish.writes
    for at, write in enumerate(finish.writes):
        if write.key == finish.id and write.ttl > 0 and write.value == finish.result:
            return write.ttl, finish.writes[:at] + finish.writes[at + 1 :]
    return 0, finish.writes
