"""The sections queues, worker, dashboard, api and alerts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from cloudq_tui.models.job import Backoff
from cloudq_tui.settings.section import CommaList, Section

RESERVED_QUEUES = frozenset({"test"})
"""Names no queue may bear: the REST interface's own routes stand there."""

MAINTENANCE = "maintenance"
"""The queue of the platform's own upkeep; like every queue marked internal it stays out of status and totals."""

PLATFORM_QUEUES: Mapping[str, Mapping[str, Any]] = {
    "email": {},
    "sms": {},
    "notification": {},
    "device-operation": {"concurrency": 4},
    "data-export": {"concurrency": 2},
    "report-generation": {"concurrency": 2},
    "image-processing": {"concurrency": 2},
    "log-processing": {"concurrency": 2},
}
"""The queues there are without any configuration; slow ones are capped so that they cannot hold every thread."""


def _queue_name(name: str) -> str:
    if name in RESERVED_QUEUES:
        raise ValueError("is reserved by the REST interface; choose another queue name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("a queue name is up to 64 letters, digits, dots, dashes and underscores")
    return name


QueueName = Annotated[str, AfterValidator(_queue_name)]


class Limiter(Section):
    max: int = Field(default=100, ge=1)
    """Starts allowed in any window of `duration`."""
    duration: int = Field(default=1000, ge=1)
    """Length of the window, milliseconds."""


class RetentionSettings(Section):
    completed_age: int = Field(default=24 * 3600, ge=0)
    """Seconds a completed job stays readable; 0: no limit."""
    completed_count: int = Field(default=1000, ge=0)
    """Completed jobs kept; 0: no limit."""
    failed_age: int = Field(default=7 * 24 * 3600, ge=0)
    """Seconds a failed job stays readable; 0: no limit."""


class QueueAlerts(Section):
    """One queue's own thresholds; what is not set follows the section `alerts`."""

    enabled: bool = True
    """Whether alerts are raised."""
    waiting: int = Field(default=1000, ge=0)
    """Alert above so many waiting jobs in a queue."""
    failure_rate: float = Field(default=0.05, ge=0, le=1)
    """Alert above this share of failures in the last 15 minutes (0 to 1)."""
    duration_ms: int | None = Field(default=10_000, ge=0)
    """Alert above this mean duration, milliseconds; null: never."""
    oldest_waiting: float = Field(default=60.0, ge=0)
    """Alert when a job has waited longer than this, seconds."""


class AlertSettings(QueueAlerts):
    duration_queues: Annotated[tuple[str, ...], *CommaList] = ("email", "sms")
    """Queues whose jobs are meant to be short: duration_ms holds for them; others must set their own."""

    def for_queue(self, name: str, own: QueueAlerts) -> QueueAlerts:
        """The thresholds that hold for one queue; duration_ms is None where no duration alert applies."""
        general = self.model_dump(exclude={"duration_queues"})
        if name not in self.duration_queues:
            general["duration_ms"] = None
        return QueueAlerts(**general | own.model_dump(exclude_unset=True))


class QueueSettings(Section):
    concurrency: int = Field(default=0, ge=0)
    """Jobs of this queue active at one time, over all workers; 0: no limit."""
    per_worker: int = Field(default=0, ge=0)
    """Jobs of this queue active at one time in one worker process; 0: no limit of its own."""
    limiter: Limiter | None = Limiter()
    """Starts per window, over all workers; null: no limiter."""
    retries: int = Field(default=3, ge=0, le=1000)
    """Further attempts after the first failure."""
    backoff: Backoff = Backoff()
    """When a failed attempt is tried again: type (exponential, fixed), delay ms, first ms, factor, jitter."""
    retention: RetentionSettings = RetentionSettings()
    """How long finished jobs stay readable."""
    alerts: QueueAlerts = QueueAlerts()
    """Thresholds of this queue."""
    internal: bool = False
    """Housekeeping: left out of status and totals."""


class WorkerSettings(Section):
    task_path: str = Field(default="tasks.huey", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the Huey instance that the dashboard's own worker serves."""
    workers: int = Field(default=8, ge=1, le=1024)
    """Threads of the dashboard's own worker."""
    lease: float = Field(default=15.0, ge=2, le=3600)
    """Seconds a running job stays its worker's without a sign of life."""
    renew: float = Field(default_factory=lambda known: known.get("lease", 15.0) / 3, gt=0)
    """Seconds between signs of life; a third of the lease unless said, and always shorter than the lease."""
    sweep: float = Field(default=2.0, gt=0, le=60)
    """Seconds between searches for jobs whose lease ran out."""
    max_stalled: int = Field(default=3, ge=0)
    """How often a job may lose its worker before it fails as stalled."""
    queues: Annotated[tuple[QueueName, ...] | None, *CommaList] = None
    """Serve only these queues (CLOUDQ_QUEUES=email,sms); all of them unless said."""
    shutdown_grace: float = Field(default=10.0, ge=0)
    """Seconds running jobs may take to end when the dashboard quits; then they are interrupted."""
    limiter: Limiter | None = None
    """One limiter over all queues together, in addition to the queues' own."""

    @field_validator("renew")
    @classmethod
    def _within_lease(cls, renew: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease", renew + 1)
        if renew >= lease:
            raise ValueError(f"must be shorter than worker.lease ({lease:g} s)")
        return renew


class DashboardSettings(Section):
    refresh: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two looks at Redis."""
    profile: str = Field(default="", max_length=32)
    """Name of the environment looked at, such as production."""
    colour: str = Field(default="", pattern=r"^(|[a-z][a-z0-9_]*|#[0-9a-fA-F]{6})$")
    """Colour of the profile's badge: a colour's name or #rrggbb."""
    badge: str = Field(default="", max_length=12)
    """Text of the badge; the profile's name unless said."""
    read_only: bool = False
    """Refuse every write of this process."""
    confirm_threshold: int = Field(default=100, ge=0)
    """Above so many jobs an act asks to type the queue's name."""


class ApiSettings(Section):
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=30001, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    max_body: int = Field(default=4 * 1024 * 1024, ge=1024)
    """Bytes of a request's body that are read; JSON may take several times a payload's stored bytes."""
