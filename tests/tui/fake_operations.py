"""An in-memory QueueOperations for the dashboard's tests: the same states and refusals, no Redis, a frozen clock.

It passes the contract test (test_contract.py) that the real operations pass.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cloudq_tui.errors import Conflict, JobNotFound, QueueNotFound, QueueUnavailable, ReadOnly
from cloudq_tui.models.alert import Alert, AlertRule
from cloudq_tui.models.event import Actor, AuditEntry
from cloudq_tui.models.job import Attempt, Job, JobOptions, JobState
from cloudq_tui.models.queue import (
    BulkResult,
    LimiterState,
    Pause,
    Preview,
    QueueCounts,
    QueueStatus,
    QueueView,
    RedisInfo,
    Snapshot,
)
from cloudq_tui.models.worker import WorkerInfo

NOON = 1_761_048_000_000
"""2025-10-21 12:00:00 UTC, epoch ms."""

QUEUES = (
    "email",
    "sms",
    "notification",
    "device-operation",
    "data-export",
    "report-generation",
    "image-processing",
    "log-processing",
)
OnProgress = Callable[[BulkResult], bool | None]


class FakeOperations:
    """Jobs in a dict. `now` is the server's clock and moves only when a test moves it; `away` set: no answer."""

    def __init__(self, queues: Sequence[str] = QUEUES, *, read_only: bool = False, now: int = NOON) -> None:
        self.names = list(queues)
        self.read_only = read_only
        self.now = now
        self.away = ""
        self.jobs: dict[str, dict[str, Job]] = {name: {} for name in queues}
        self.pauses: dict[str, Pause] = {}
        self.limiters: dict[str, LimiterState] = {}
        self.alerts: dict[str, list[Alert]] = {}
        self.figures: dict[str, dict[str, Any]] = {}
        self.fleet: list[WorkerInfo] = []
        self.redis = RedisInfo("7.2", "localhost:6379/1", 412 * 1024**2, 2 * 1024**3, 0.3)
        self.calls: list[tuple[Any, ...]] = []
        self.step = 250
        self.gate: threading.Event | None = None
        """Set to hold a bulk verb after each step until the test lets it go on."""
        self._ids = itertools.count(1)
        self._acts: list[tuple[AuditEntry, list[Job]]] = []

    # looking

    def _check(self, queue: str = "") -> None:
        if self.away:
            raise QueueUnavailable(self.away)
        if queue and queue not in self.jobs:
            raise QueueNotFound(f"no queue {queue!r}")

    def queue_names(self) -> list[str]:
        self._check()
        return list(self.names)

    def _counts(self, queue: str) -> QueueCounts:
        number = Counter(job.state for job in self.jobs[queue].values())
        waiting = number[JobState.WAITING]
        due = sum(1 for job in self._in(queue, JobState.DELAYED) if (job.due or 0) <= self.now)
        paused = waiting + due if queue in self.pauses else 0
        return QueueCounts(
            waiting=0 if queue in self.pauses else waiting,
            active=number[JobState.ACTIVE],
            completed=number[JobState.COMPLETED],
            failed=number[JobState.FAILED],
            delayed=number[JobState.DELAYED] - (due if queue in self.pauses else 0),
            paused=paused,
        )

    def _in(self, queue: str, *states: JobState) -> list[Job]:
        return [job for job in self.jobs[queue].values() if job.state in states]

    def snapshot(self) -> Snapshot:
        self._check()
        views = []
        for name in self.names:
            waiting = [job.timestamp for job in self._in(name, JobState.WAITING)]
            views.append(
                QueueView(
                    name,
                    self._counts(name),
                    pause=self.pauses.get(name),
                    oldest_waiting=min(waiting, default=None),
                    limiter=self.limiters.get(name),
                    workers=sum(name in worker.queues for worker in self.fleet),
                    alerts=tuple(self.alerts.get(name, ())),
                    **self.figures.get(name, {}),
                )
            )
        active = [job for name in self.names for job in self._in(name, JobState.ACTIVE)]
        return Snapshot(self.now, tuple(views), tuple(active), tuple(self.fleet), self.redis)

    def all_queues_status(self) -> list[QueueStatus]:
        self._check()
        return [QueueStatus(name, self._counts(name)) for name in self.names]

    def queue_jobs(self, queue: str, state: JobState | str, start: int = 0, end: int = 19) -> list[Job]:
        self._check(queue)
        wanted = JobState(state)
        if wanted == JobState.PAUSED:
            found = self._in(queue, JobState.WAITING) if queue in self.pauses else []
        elif wanted == JobState.WAITING and queue in self.pauses:
            found = []
        else:
            found = self._in(queue, wanted)
        if wanted in {JobState.COMPLETED, JobState.FAILED}:
            found.sort(key=lambda job: -(job.finished_on or 0))
        return [
            replace(job, state=wanted, data=None, options={}, result=None, attempts=(), logs=())
            for job in found[start : end + 1]
        ]

    def job(self, queue: str, job_id: str) -> Job:
        self._check(queue)
        if job_id not in self.jobs[queue]:
            raise JobNotFound(f"no job {job_id} in {queue}")
        return self.jobs[queue][job_id]

    def _preview(self, jobs: list[Job]) -> Preview:
        states = Counter(job.state.value for job in jobs)
        times = [job.timestamp for job in jobs]
        return Preview(
            count=len(jobs),
            oldest=min(times, default=None),
            newest=max(times, default=None),
            names=tuple(Counter(job.name for job in jobs).most_common(5)),
            errors=tuple(Counter(job.error for job in jobs if job.error).most_common(5)),
            sampled=len(jobs),
            by_state=tuple(states.items()),
        )

    def preview_retry(self, queue: str) -> Preview:
        self._check(queue)
        return self._preview(self._in(queue, JobState.FAILED))

    def preview_empty(self, queue: str) -> Preview:
        self._check(queue)
        return self._preview(self._in(queue, JobState.WAITING, JobState.DELAYED))

    def _older(self, queue: str, grace: int, state: JobState | str) -> list[Job]:
        before, wanted = self.now - grace, JobState(state)
        if queue in self.pauses and wanted in {JobState.WAITING, JobState.PAUSED}:
            stored = [JobState.WAITING] if wanted == JobState.PAUSED else []
        else:
            stored = [wanted]
        return [job for job in self._in(queue, *stored) if (job.finished_on or job.timestamp) <= before]

    def preview_clean(self, queue: str, grace: int, state: JobState | str) -> Preview:
        self._check(queue)
        return self._preview(self._older(queue, grace, state))

    # producing

    def enqueue(self, queue: str, name: str, data: Any, options: JobOptions | None = None) -> Job:
        self._check(queue)
        job_id = options.job_id if options is not None and options.job_id else f"{next(self._ids):08x}"
        delay = options.delay_ms if options is not None else 0
        state = JobState.DELAYED if delay else JobState.WAITING
        due = self.now + delay if delay else None
        return self.put(Job(job_id, queue, name, state, self.now, data=data, due=due, retries=3))

    def put(self, job: Job) -> Job:
        """For tests: a job in any state."""
        self.jobs[job.queue][job.id] = job
        return job

    def fail(self, queue: str, job_id: str, error: str, traceback: str = "") -> None:
        """For tests: the job runs and fails for good."""
        job = self.jobs[queue][job_id]
        attempt = Attempt(job.attempts_made + 1, "failed", error, traceback, self.now - 400, self.now, "web-3:311")
        self.jobs[queue][job_id] = replace(
            job,
            state=JobState.FAILED,
            error=error,
            attempts=(*job.attempts, attempt),
            attempts_made=job.attempts_made + 1,
            processed_on=self.now - 400,
            finished_on=self.now,
        )

    # acting

    def _begin(self, *call: Any) -> None:
        if self.read_only:
            raise ReadOnly(f"{call[0]} was refused: this session is read-only")
        self._check(call[1])
        self.calls.append(call)

    def _wait_again(self, job: Job) -> None:
        self.jobs[job.queue][job.id] = replace(
            job, state=JobState.WAITING, attempts_made=0, error="", reason="", finished_on=None, timestamp=self.now
        )

    def retry_job(self, queue: str, job_id: str) -> None:
        self._begin("retry_job", queue, job_id)
        job = self.job(queue, job_id)
        if job.state not in {JobState.FAILED, JobState.COMPLETED}:
            raise Conflict(f"job {job_id} is {job.state.value}, only failed and completed jobs can be retried")
        self._wait_again(job)

    def remove_job(self, queue: str, job_id: str) -> None:
        self._begin("remove_job", queue, job_id)
        if self.job(queue, job_id).state == JobState.ACTIVE:
            raise Conflict(f"job {job_id} is active")
        self._keep("remove", queue, [self.jobs[queue].pop(job_id)])

    def pause_queue(self, queue: str, why: str = "", duration: timedelta | float | None = None) -> None:
        self._begin("pause_queue", queue, why, duration)
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        until = None if seconds is None else self.now + round(seconds * 1000)
        self.pauses[queue] = Pause("ops1", why, self.now, until)

    def resume_queue(self, queue: str) -> bool:
        self._begin("resume_queue", queue)
        return self.pauses.pop(queue, None) is not None

    def _keep(self, action: str, queue: str, jobs: list[Job]) -> None:
        act = f"act-{next(self._ids)}"
        entry = AuditEntry(act, self.now, Actor("ops1", "dashboard"), action, queue, len(jobs), act=act)
        self._acts.append((entry, jobs))

    def last_undoable(self) -> AuditEntry | None:
        self._check()
        return self._acts[-1][0] if self._acts else None

    def undo(self, on_progress: OnProgress | None = None) -> tuple[AuditEntry, BulkResult]:
        if self.read_only:
            raise ReadOnly("undo was refused: this session is read-only")
        if not self._acts:
            raise Conflict("nothing to undo")
        entry, jobs = self._acts.pop()
        for job in jobs:
            self.put(job)
        return entry, BulkResult(moved=len(jobs))

    def _bulk(
        self,
        action: str,
        queue: str,
        jobs: list[Job],
        act: Callable[[Job], object],
        on_progress: OnProgress | None,
    ) -> BulkResult:
        result = BulkResult(remaining=len(jobs))
        try:
            for result in self._steps(jobs, act):
                if on_progress is not None and on_progress(result) is False:
                    break
                if self.gate is not None:
                    self.gate.wait(10)
        finally:
            if result.moved:
                self._keep(action, queue, jobs[: result.moved])
        return result

    def _steps(self, jobs: list[Job], act: Callable[[Job], object]) -> Iterator[BulkResult]:
        for start in range(0, len(jobs), self.step):
            part = jobs[start : start + self.step]
            for job in part:
                act(job)
            done = start + len(part)
            yield BulkResult(done, 0, len(jobs) - done)

    def retry_all(self, queue: str, on_progress: OnProgress | None = None) -> BulkResult:
        self._begin("retry_all", queue)
        return self._bulk("retry all", queue, self._in(queue, JobState.FAILED), self._wait_again, on_progress)

    def empty_queue(self, queue: str, on_progress: OnProgress | None = None) -> BulkResult:
        self._begin("empty_queue", queue)
        jobs = self._in(queue, JobState.WAITING, JobState.DELAYED)
        return self._bulk("empty", queue, jobs, lambda job: self.jobs[queue].pop(job.id), on_progress)

    def clean_queue(
        self,
        queue: str,
        grace: int = 24 * 3600 * 1000,
        state: JobState | str = "completed",
        on_progress: OnProgress | None = None,
    ) -> BulkResult:
        self._begin("clean_queue", queue, grace, str(state))
        jobs = self._older(queue, grace, state)
        return self._bulk("clean", queue, jobs, lambda job: self.jobs[queue].pop(job.id), on_progress)


TRACEBACK = """Traceback (most recent call last):
  File "/srv/cloudq/cloudq_tui/worker/huey.py", line 212, in execute
    result = self.run(job)
  File "/srv/cloudq/tasks/processors/email.py", line 41, in send_email
    client.login(settings.username, settings.password)
  File "/srv/cloudq/tasks/clients/smtp.py", line 88, in login
    raise SMTPAuthenticationError(code, text)
tasks.clients.smtp.SMTPAuthenticationError: (535, 'Authentication credentials invalid')
"""


def healthy() -> FakeOperations:
    """Six queues at work, two idle; nothing is wrong."""
    fake = FakeOperations()
    for host, pid in (("web-3", 311), ("web-4", 87)):
        worker = WorkerInfo(f"{host}:{pid}", host, pid, QUEUES, 8, 3, NOON - 7_200_000, NOON)
        fake.fleet.append(worker)
    mixes = {
        "email": (42, 2, 3, 1, 1250, 12.1, 11.9, (40, 60, 52, 61, 58, 66, 63, 70, 62, 58, 60, 64)),
        "sms": (3, 1, 0, 1, 402, 8.0, 8.1, (38, 40, 41, 39, 40, 42, 39, 38, 40, 41, 40, 40)),
        "notification": (0, 1, 0, 0, 88, 2.2, 2.2, (10, 11, 10, 12, 11, 10, 10, 11, 12, 10, 11, 11)),
        "device-operation": (14, 2, 0, 2, 61, 0.3, 0.3, (1, 0, 2, 1, 1, 3, 2, 1, 1, 2, 0, 1)),
        "data-export": (2, 0, 8, 0, 12, 0.0, 0.0, (0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0)),
        "report-generation": (1, 1, 0, 0, 7, 0.0, 0.1, (0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0)),
        "image-processing": (4, 2, 0, 4, 911, 9.9, 10.0, (50, 48, 51, 49, 50, 47, 52, 50, 49, 51, 50, 48)),
    }
    steps = {
        "email": ("send-email", "send", 62),
        "sms": ("send-sms", "send", 40),
        "notification": ("send-notification", "", 0),
        "device-operation": ("start-device", "container", 50),
        "report-generation": ("generate-report", "render", 12),
        "image-processing": ("process-image", "resize", 71),
    }
    for name, (waiting, active, delayed, failed, done, rate_in, rate_out, history) in mixes.items():
        job_name, step, progress = steps.get(name, ("export-data", "query", 5))
        for number in range(waiting):
            fake.put(Job(f"w{number:07x}", name, job_name, JobState.WAITING, NOON - number * 900, retries=3))
        for number in range(active):
            started = NOON - 4_000 - number * 27_000
            fake.put(
                Job(
                    f"{name[0]}{number:07x}",
                    name,
                    job_name,
                    JobState.ACTIVE,
                    started - 500,
                    retries=3,
                    attempts_made=0,
                    progress=min(100, progress + number * 9),
                    step=step,
                    processed_on=started,
                    worker="web-3:311",
                )
            )
        for number in range(delayed):
            due = NOON + 65_000 * (number + 1)
            fake.put(Job(f"d{number:07x}", name, job_name, JobState.DELAYED, NOON - 9_000, due=due, retries=3))
        for number in range(failed):
            at = NOON - 14_000 - number * 47_000
            fake.put(
                Job(
                    f"f{number:07x}",
                    name,
                    job_name,
                    JobState.FAILED,
                    at - 5_000,
                    retries=3,
                    attempts_made=4,
                    processed_on=at - 400,
                    finished_on=at,
                    error="ConnectionRefusedError: connection to smtp.example.com:587 refused",
                )
            )
        for number in range(done):
            at = NOON - number * 1_100
            finished = {"processed_on": at - 180, "finished_on": at}
            fake.put(Job(f"c{number:07x}", name, job_name, JobState.COMPLETED, at - 300, attempts_made=1, **finished))
        fake.figures[name] = {
            "in_rate": rate_in,
            "out_rate": rate_out,
            "history": history,
            "failure_rate": failed / (failed + done) if failed + done >= 20 else None,
            "finishes": failed + done,
            "mean_duration": 180.0 + 90 * len(name),
        }
    fake.limiters["sms"] = LimiterState(100, 1000, 92)
    return fake


def failing() -> FakeOperations:
    """The same, but email fails and data-export is paused."""
    fake = healthy()
    error = "SMTPAuthenticationError: (535, 'Authentication credentials invalid')"
    for number in range(118):
        at = NOON - 12_000 - number * 4_000
        attempts = tuple(
            Attempt(n, "failed", error, TRACEBACK, at - 6_000 + n * 1_000, at - 5_600 + n * 1_000, "web-3:311")
            for n in range(1, 5)
        )
        fake.put(
            Job(
                f"{0x4F1C9A02 + number * 7919:08x}",
                "email",
                "send-batch-email" if number % 9 == 2 else "send-email",
                JobState.FAILED,
                at - 8_000,
                retries=3,
                attempts_made=4,
                processed_on=at - 400,
                finished_on=at,
                error=error if number % 9 != 2 else "TimeoutError: smtp.example.com:587 (10s)",
                data={"to": "t***@example.com", "subject": "Welcome", "html": "<h1>Welcome!</h1>" * 70},
                options={"timeout": 30000, "backoff": {"type": "exponential", "delay": 2000}},
                attempts=attempts,
                logs=(),
                progress=30,
                step="send",
            )
        )
    fake.figures["email"] |= {"failure_rate": 0.172, "out_rate": 4.0, "mean_duration": 412.0}
    text = "119 failed, 17.2% of the last 15 minutes"
    fake.alerts["email"] = [
        Alert("email", AlertRule.FAILURE_RATE, text),
        Alert("email", AlertRule.OLDEST_WAITING, "the oldest job waits for 3m 12s"),
    ]
    fake.pauses["data-export"] = Pause("ops1@bastion", "disk full on nas-2", NOON - 760_000, NOON + 1_040_000)
    return fake
