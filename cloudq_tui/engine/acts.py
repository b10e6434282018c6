"""What people do with jobs and queues: retry, remove, pause, empty and their like, one method per verb.

The bulk verbs are steps: each call moves a bounded number of jobs and says what is left, and the caller repeats it.
"""

from __future__ import annotations

import itertools
from typing import Any

from cloudq_tui.engine.calls import ScriptCalls
from cloudq_tui.errors import Conflict, JobNotFound
from cloudq_tui.models.job import JobState
from cloudq_tui.models.queue import BulkResult

BUDGET = 100  # jobs in one step of a bulk verb: of a million jobs, the dearest step stays below 5 ms of Redis
_PAGE = 1000  # keys looked at, and then freed, in one call


class ActVerbs(ScriptCalls):
    """The verbs behind a person's keys and commands."""

    def retry(self, queue: str, job_id: str) -> None:
        """failed / completed -> waiting. Raises JobNotFound, or Conflict in any other state."""
        self._act("retry", queue, job_id, [job_id], "retry it once it has finished")

    def promote(self, queue: str, job_id: str) -> None:
        """delayed -> waiting. Raises JobNotFound, or Conflict in any other state."""
        self._act("promote", queue, job_id, [job_id, 0], "only a delayed job can be promoted")

    def reschedule(self, queue: str, job_id: str, delay: int) -> None:
        """delayed -> delayed, due in `delay` ms. Raises JobNotFound, or Conflict in any other state."""
        self._act("promote", queue, job_id, [job_id, max(1, delay)], "only a delayed job can be rescheduled")

    def remove(self, queue: str, job_id: str, *, act: str = "") -> None:
        """Any state but active -> gone. Raises JobNotFound, or Conflict while it is active.

        Here and in the bulk verbs an `act` (an id of the caller's making) lets `undo` put the jobs back for ten
        minutes; without one they are forgotten at once.
        """
        self._act("remove", queue, job_id, [job_id, act], "cancel it first")

    def cancel(self, queue: str, job_id: str, by: str) -> JobState:
        """The state the job had: waiting and delayed jobs fail at once, an active one is told.

        Raises JobNotFound, or Conflict when it has finished.
        """
        state = self._text(self._once("cancel", [self._base(queue)], [job_id, by[:60]]))
        if state in ("completed", "failed"):
            raise Conflict(f"job {job_id} in {queue} is {state}; there is nothing to cancel")
        return JobState(self._found(state, queue, job_id))

    def pause(
        self, queue: str, *, by: str, why: str = "", until: int | None = None, duration: int | None = None
    ) -> None:
        """Give no more jobs, until resumed, until `until` (epoch ms) or for `duration` ms; active jobs go on."""
        blank = ["" if value is None else value for value in (until, duration)]
        self._repeatable("pause", [self._base(queue)], [by, why, *blank])

    def resume(self, queue: str) -> bool:
        """Give jobs again; False when it was not paused."""
        return bool(self._repeatable("resume", [self._base(queue)], []))

    def empty(self, queue: str, *, cutoff: int, offset: int = 0, budget: int = BUDGET, act: str = "") -> BulkResult:
        """One bounded step of removing waiting and delayed jobs created by `cutoff`; `offset`: skipped so far."""
        return self._bulk("empty", queue, [cutoff, offset, budget, act])

    def clean(
        self, queue: str, state: JobState, *, before: int, offset: int = 0, budget: int = BUDGET, act: str = ""
    ) -> BulkResult:
        """One bounded step of removing jobs of `state` older than `before` (epoch ms). Active ones: Conflict."""
        stored = JobState.WAITING if state is JobState.PAUSED else state
        if stored is JobState.ACTIVE:
            raise Conflict("active jobs cannot be cleaned; cancel them instead")
        return self._bulk("clean", queue, [stored.value, before, offset, budget, act])

    def retry_all(
        self,
        queue: str,
        state: JobState,
        *,
        cutoff: int,
        name: str = "",
        error: str = "",
        offset: int = 0,
        budget: int = BUDGET,
        act: str = "",
    ) -> BulkResult:
        """One bounded step of retrying what finished by `cutoff`: of job `name` exactly and with `error` in its
        error line, where given."""
        return self._bulk("retry_all", queue, [state.value, cutoff, name, error, offset, budget, act])

    def undo(self, queue: str, act: str, *, budget: int = BUDGET) -> BulkResult:
        """One bounded step of putting an act's jobs back with state, order and score.

        Skipped are ids that were added again meanwhile, and retried jobs that were claimed since.
        """
        return self._bulk("undo", queue, [act, budget])

    def obliterate(self, queue: str) -> None:
        """Remove a queue whole, its active jobs too: for Huey's flush and for tests. Not atomic."""
        with self.connection.guard():
            found = self.connection.client.scan_iter(match=_literal(self._base(queue)) + ":*", count=_PAGE)
            # Unlinked: to free a set of a million entries at once would block Redis.
            while page := list(itertools.islice(found, _PAGE)):
                self.connection.client.unlink(*page)

    # --- inner ---

    def _act(self, name: str, queue: str, job_id: str, args: list[Any], advice: str) -> None:
        state = self._found(self._text(self._once(name, [self._base(queue)], args)), queue, job_id)
        if state == "scrubbed":
            raise Conflict(f"job {job_id} in {queue} cannot run again: its secret was removed once it had been used")
        if state != "ok":
            raise Conflict(f"job {job_id} in {queue} is {state}; {advice}")

    def _bulk(self, name: str, queue: str, args: list[Any]) -> BulkResult:
        return BulkResult(*(int(one) for one in self._once(name, [self._base(queue)], args)))

    @staticmethod
    def _text(answer: bytes | str) -> str:
        return answer.decode() if isinstance(answer, bytes) else answer

    @staticmethod
    def _found(state: str, queue: str, job_id: str) -> str:
        if state == "missing":
            raise JobNotFound(f"no job {job_id} in queue {queue}; it may have been removed")
        return state


def _literal(text: str) -> str:
    """A key as a glob pattern that matches only itself."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)
