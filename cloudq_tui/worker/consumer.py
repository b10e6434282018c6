"""The consumer: Huey's own, whose workers take jobs from the process's exchange instead of one by one."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from typing import Any

from huey.consumer import Consumer, ConsumerStopped, Scheduler, Worker, WorkerRecycle

from cloudq_tui.engine.records import Finish
from cloudq_tui.errors import QueueUnavailable
from cloudq_tui.worker import joblog
from cloudq_tui.worker.crowd import Crowd
from cloudq_tui.worker.exchange import Exchange
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.parcel import Taken

logger = logging.getLogger("huey.consumer")

_GARBAGE = 10_000  # objects between two collections; a batch of quick jobs alone makes some thousands that all go
_SWITCH = 0.001  # seconds; Python's own five are as long as a finish may be held back


def orphaned(parent: int) -> bool:
    """Whether the consumer that forked this process is gone. 0: it was not forked."""
    return parent != 0 and os.getppid() != parent


class CloudqWorker(Worker):  # type: ignore[misc]
    """One thread, or one forked process, that runs jobs."""

    def __init__(self, *args: Any, exchange: Exchange, forked: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exchange = exchange
        self._forked = forked
        self._parent = 0

    def initialize(self) -> None:
        if self._forked:
            self._parent = os.getppid()
        self._exchange.enter()
        self.huey.leases.start()
        super().initialize()

    def shutdown(self) -> None:
        super().shutdown()
        self._exchange.leave()
        if self._forked:
            self.huey.leases.stop()

    def _stopping(self) -> bool:
        return bool(self.stop_flag.is_set()) or orphaned(self._parent)

    def loop(self, now: Any = None) -> None:
        taken = self._exchange.take(self._stopping)
        if taken is None:
            if orphaned(self._parent):
                self._logger.warning("the consumer is gone, and this worker process goes too")
                raise KeyboardInterrupt
            return
        try:
            self._run(taken, now)
        except Exception as error:
            # A worker thread must never die of a job.
            level = logging.WARNING if isinstance(error, QueueUnavailable) else logging.ERROR
            self._logger.log(
                level, "job %s could not be run: %s", taken.claim.id, error, exc_info=level > logging.WARNING
            )
            self._exchange.abandon(taken)
        self.task_count += 1
        if self.max_tasks and self.task_count >= self.max_tasks:
            self._logger.info("Worker reached max tasks (%d), exiting.", self.max_tasks)
            raise WorkerRecycle

    def _run(self, taken: Taken, now: Any) -> None:
        huey: CloudqHuey = self.huey
        task, about = huey.open(taken.claim), joblog.about(taken.claim)
        if isinstance(task, Finish):
            joblog.ended(about, task, 0.0)
            self._exchange.done(task, 0.0)
            return
        joblog.started(about)
        self._exchange.said()
        run = huey.run(task, taken.claim, taken.held, timestamp=now)
        finish = run.finish()
        self._exchange.done(finish, run.duration, lambda: huey.finished(run))
        joblog.ended(about, finish, run.duration)
        self._exchange.said()


class CloudqScheduler(Scheduler):  # type: ignore[misc]
    """Enqueues periodic tasks once a minute of the wall clock; delayed jobs need no scheduler here.

    Huey's own goes by a minute of its own beginning and may skip one when that lies at the turn of the minute.
    """

    def __init__(self, *args: Any, forked: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forked = forked
        self._parent = 0
        self._minute = -1

    def initialize(self) -> None:
        if self._forked:
            self._parent = os.getppid()

    def loop(self, now: Any = None) -> None:
        if orphaned(self._parent):
            raise KeyboardInterrupt
        began = time.monotonic()
        minute = int(time.time()) // 60
        if self.periodic and minute != self._minute and self.enqueue_periodic_tasks(now):
            self._minute = minute
        self.sleep_for_interval(began, self.interval)

    def enqueue_periodic_tasks(self, now: Any) -> bool:
        """False when Redis is away: the minute is tried again, its ids make that harmless."""
        for task in self.huey.read_periodic(now):
            self._logger.info("Enqueueing periodic task %s.", task)
            try:
                self.huey.enqueue(task)
            except QueueUnavailable as error:
                self._logger.warning("%s is enqueued later: %s", task, error)
                return False
            except Exception:
                self._logger.exception("Error enqueueing periodic task %s.", task)
        return True


class CloudqConsumer(Consumer):  # type: ignore[misc]
    """What `huey_consumer` runs, with threads or with `-k process`."""

    worker_class = CloudqWorker
    scheduler_class = CloudqScheduler

    _exchange: Exchange | None = None
    _crowd: Crowd | None = None
    _waiting_for_jobs = False

    @property
    def exchange(self) -> Exchange:
        """The one of this process; each forked worker has its own copy, made before it takes its first job."""
        if self._exchange is None:
            if self.environment.forks:
                self._crowd = Crowd(self.workers, self.huey.served())
                self._exchange = Exchange(self.huey, 1, crowd=self._crowd, pool=self.workers)
            else:
                self._exchange = Exchange(self.huey, self.workers)
        return self._exchange

    def _create_worker(self) -> CloudqWorker:
        return self.worker_class(
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=self.max_delay,
            backoff=self.backoff,
            max_tasks=self.max_tasks,
            exchange=self.exchange,
            forked=self.environment.forks,
        )

    def _create_scheduler(self) -> CloudqScheduler:
        return self.scheduler_class(
            huey=self.huey,
            stop_flag=self.stop_flag,
            interval=self.scheduler_interval,
            periodic=self.periodic,
            forked=self.environment.forks,
        )

    def start(self) -> None:
        joblog.install()
        # What was loaded by now stays: the collector need not look at it again for every few hundred jobs.
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        # Beside jobs that compute, the thread that keeps the exchange's promises waits that long for its turn.
        sys.setswitchinterval(_SWITCH)
        self.huey.leases.threads = 1 if self.environment.forks else self.workers
        served = self.huey.served()
        logger.info("Serving queues: %s", ", ".join(served) or "none")
        for queue in self.huey.serve_queues or ():
            if queue not in served:
                logger.warning("Queue %s is not served: no task of it is registered here", queue)
        # Huey listens for signals when all have started: one that came before would end what they run unheard.
        self._set_signal_handlers()
        super().start()

    def run(self) -> None:
        """Huey's own, but a restart repeats the whole command line, also that of `python -m`."""
        self.start()
        checked = time.monotonic()
        try:
            while True:
                checked = self.loop(checked)
        except ConsumerStopped:
            pass
        self.huey.notify_interrupted_tasks()
        if self._restart:
            logger.info("Consumer will restart.")
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
        logger.info("Consumer exiting.")

    def stop(self, graceful: bool = False) -> None:
        """Huey's own; then what still runs in this process's threads is given back for others to run."""
        self._waiting_for_jobs = graceful
        try:
            super().stop(graceful)
        finally:
            self._waiting_for_jobs = False
        if not self.environment.forks:
            self.huey.notify_interrupted_tasks()
            self.exchange.close()
            self.huey.leases.stop()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        """The interrupting signal ends a graceful stop that waits for jobs; Huey itself would only note it."""
        if self._waiting_for_jobs and signum == self._interrupt_sig:
            raise KeyboardInterrupt
        super()._handle_signal(signum, frame)
