"""What a worker's lease thread does beside the jobs."""

from __future__ import annotations

import time

from cloudq_tui.engine.acts import BUDGET
from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.records import NewJob, QueueClaim
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.worker.leases import LeaseKeeper
from cloudq_tui.worker.options import LeaseOptions


def test_one_sweep_brings_back_all_that_died_together(engine: QueueEngine, reader: QueueReader) -> None:
    dead = 3 * BUDGET
    engine.add_many(NewJob(f"job-{number}", "email", "work", b"") for number in range(dead))
    engine.claim([QueueClaim("email", dead)], worker="dead", request="dead.1", lease=1, limit=dead)
    keeper = LeaseKeeper(engine, LeaseOptions(sweep=3600.0), lambda: ("email",), list)  # type: ignore[arg-type]
    keeper.start()
    try:
        deadline = time.monotonic() + 10
        while reader.status(["email"])[0].counts.active:
            assert time.monotonic() < deadline, "the rest waits for another sweep"
            time.sleep(0.01)
    finally:
        keeper.stop()
    assert reader.status(["email"])[0].counts.waiting == dead
