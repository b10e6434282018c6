"""What people do, as rules on Redis and on the model. Bulk verbs run to their end, in steps as small as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from cloudq_tui.errors import Conflict, JobNotFound
from cloudq_tui.models.job import JobState
from cloudq_tui.models.queue import BulkResult

from .model import ENDED, IDS, NAMES, Model, Trashed, World, queue_names

budgets = st.integers(1, 3)
acts = st.booleans()  # whether an undo is wanted


class OneJobRules(World):
    @rule(job_id=IDS)
    def retry(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state not in ENDED or job.scrubbed:
            self.refuse(lambda queue: self.engine.retry(queue, job_id), job_id)
        else:
            self.engine.retry(job.queue, job_id)
            self.start_afresh(job)

    @rule(job_id=IDS, delay=st.sampled_from([0, 900]))
    def promote_or_reschedule(self, job_id: str, delay: int) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state != "delayed":
            self.refuse(lambda queue: self.engine.promote(queue, job_id), job_id)
            self.refuse(lambda queue: self.engine.reschedule(queue, job_id, 900), job_id)
        elif delay:
            self.engine.reschedule(job.queue, job_id, delay)
            job.due = self.now + delay
        else:
            self.engine.promote(job.queue, job_id)
            self.wait(job)

    @rule(job_id=IDS, undoable=acts)
    def remove(self, job_id: str, undoable: bool) -> None:
        job, act = self.jobs.get(job_id), self.new_act(undoable)
        if job is None or job.state == "active":
            self.refuse(lambda queue: self.engine.remove(queue, job_id, act=act), job_id)
        else:
            self.engine.remove(job.queue, job_id, act=act)
            self.take_away([job_id], act)

    @rule(job_id=IDS)
    def cancel(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.state in ENDED:
            self.refuse(lambda queue: self.engine.cancel(queue, job_id, "ops"), job_id)
            return
        assert self.engine.cancel(job.queue, job_id, "ops") is JobState(job.state)
        if job.state == "active":
            job.cancelled = True
        else:
            self.end(job_id, "failed", "x", "cancelled by ops")

    def refuse(self, act: Callable[[str], object], job_id: str) -> None:
        error = JobNotFound if job_id not in self.jobs else Conflict
        with pytest.raises(error):
            act(self.homes[job_id])

    def new_act(self, undoable: bool) -> str:
        return f"act{len(self.acts)}" if undoable else ""

    def start_afresh(self, job: Model) -> None:
        self.wait(job)
        job.failures = job.stalled = 0
        job.cancelled = job.claimed = job.result = False
        job.error = ""


class QueueRules(OneJobRules):
    @rule(queue=queue_names, duration=st.sampled_from([None, 400, 800]), by_time=st.booleans())
    def pause(self, queue: str, duration: int | None, by_time: bool) -> None:
        until = None if duration is None else self.now + duration
        if by_time:
            self.engine.pause(queue, by="ops", until=until)
        else:
            self.engine.pause(queue, by="ops", duration=duration)
        self.paused[queue] = until

    @rule(queue=queue_names)
    def resume(self, queue: str) -> None:
        paused = self.is_paused(queue)
        assert self.engine.resume(queue) or not paused
        self.paused.pop(queue, None)

    @rule(queue=queue_names, age=st.integers(0, 1), budget=budgets, undoable=acts)
    def empty(self, queue: str, age: int, budget: int, undoable: bool) -> None:
        cutoff, act = self.now - age, self.new_act(undoable)
        there = self.of(queue, "waiting", "delayed")
        doomed = [job_id for job_id, job in there.items() if job.created <= cutoff]
        self.to_the_end(
            lambda offset: self.engine.empty(queue, cutoff=cutoff, offset=offset, budget=budget, act=act), len(doomed)
        )
        self.take_away(doomed, act)

    @rule(
        queue=queue_names,
        state=st.sampled_from(["waiting", "delayed", *ENDED]),
        grace=st.sampled_from([0, 1000]),
        budget=budgets,
        undoable=acts,
    )
    def clean(self, queue: str, state: str, grace: int, budget: int, undoable: bool) -> None:
        before, act = self.now - grace, self.new_act(undoable)
        there = self.of(queue, state)
        since = {job_id: job.finished if state in ENDED else job.created for job_id, job in there.items()}
        doomed = [job_id for job_id, time in since.items() if time <= before]
        self.to_the_end(
            lambda offset: self.engine.clean(
                queue, JobState(state), before=before, offset=offset, budget=budget, act=act
            ),
            len(doomed),
        )
        self.take_away(doomed, act)

    @rule(
        queue=queue_names,
        state=st.sampled_from(ENDED),
        name=st.sampled_from(["", *NAMES]),
        error=st.sampled_from(["", "no", "cancelled"]),
        budget=budgets,
        undoable=acts,
    )
    def retry_all(self, queue: str, state: str, name: str, error: str, budget: int, undoable: bool) -> None:
        cutoff, act = self.now, self.new_act(undoable)
        fitting = {
            job_id: job
            for job_id, job in self.of(queue, state).items()
            if not job.scrubbed and name in ("", job.name) and error in job.error
        }
        self.to_the_end(
            lambda offset: self.engine.retry_all(
                queue, JobState(state), cutoff=cutoff, name=name, error=error, offset=offset, budget=budget, act=act
            ),
            len(fitting),
        )
        for job_id, job in sorted(fitting.items(), key=lambda item: (item[1].finished, item[0])):
            before = replace(job)
            self.start_afresh(job)
            if act:
                self.acts.setdefault(act, []).append(Trashed(job_id, before, job.order))

    def to_the_end(self, step: Callable[[int], BulkResult], wanted: int) -> None:
        moved = offset = 0
        while True:
            result = step(offset)
            moved, offset = moved + result.moved, offset + result.skipped
            if not result.remaining:
                break
            assert result.moved or result.skipped, "each step comes nearer to the end"
        assert moved == wanted

    @rule(number=st.integers(0, 10), budget=budgets)
    def undo(self, number: int, budget: int) -> None:
        """Of an act of any time, also one that was undone before."""
        act = f"act{number % (len(self.acts) + 1)}"
        entries = self.acts.get(act, [])
        queue = entries[0].job.queue if entries else "email"
        back = [entry for entry in entries if self.put_back(entry)]
        moved = skipped = 0
        while True:
            result = self.engine.undo(queue, act, budget=budget)
            moved, skipped = moved + result.moved, skipped + result.skipped
            if not result.remaining:
                break
        assert (moved, skipped) == (len(back), len(entries) - len(back))
        if entries:
            self.acts[act] = []

    def put_back(self, entry: Trashed) -> bool:
        now = self.jobs.get(entry.id)
        if entry.place is None:
            if self.trash.get(entry.id) is not entry.job:
                return False
            self.jobs[entry.id] = self.trash.pop(entry.id)
            return True
        if now is None or now.state != "waiting" or now.order != entry.place or now.claimed:
            return False
        self.jobs[entry.id] = entry.job
        return True
