"""Any sequence of verbs, against a dict that says what must be true.

Invariants after every step: each id is in exactly one state, records agree with states, counts sum, only the lease
holder ends a job, and nothing accepted disappears. `CLOUDQ_EXAMPLES=5000 pytest tests/engine/test_state_machine.py`
runs it long.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from cloudq_tui.engine.connection import Connection

from .rules_people import QueueRules
from .rules_workers import RunRules

EXAMPLES = int(os.environ.get("CLOUDQ_EXAMPLES", "200"))


class Verbs(RunRules, QueueRules):
    """All of them."""


def test_any_sequence_of_verbs(connection: Connection) -> None:
    machine = type("Machine", (Verbs,), {"connection": connection})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize="CI" in os.environ,
        ),
    )
