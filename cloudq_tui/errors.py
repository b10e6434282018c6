"""Every error a person or a caller can meet, in one tree. Imports nothing of the project.

CloudqError
├── SettingsError            a setting is wrong: key, problem, file
├── QueueUnavailable         Redis cannot be reached, refuses us, or is loading      (HTTP 503)
│   ├── QueueFull            Redis is at its memory limit and refuses new work       (HTTP 503)
│   └── ScriptRefused        Redis answers, but not this call: trying again is vain  (HTTP 503)
├── NotFound                                                                         (HTTP 404)
│   ├── QueueNotFound
│   └── JobNotFound
├── Conflict                 the job or queue is not in a state that allows this     (HTTP 409)
│   ├── AmbiguousId          an id prefix fits more than one job
│   └── LeaseLost            the caller no longer holds the job's lease
├── Invalid                  the request itself is wrong                             (HTTP 422)
│   ├── InvalidPayload       names field and reason
│   ├── InvalidOptions
│   └── NoProcessor          nobody has registered this job name on this queue
├── ReadOnly                 this door was opened read-only                          (HTTP 403)
├── UnreadableJob            stored data cannot be decoded
└── JobSignal                raised inside a processor to steer its own job
    ├── PermanentFailure     fail at once, use no retries
    ├── TemporaryFailure     retry by the policy, or after `retry_after` seconds
    ├── Deferred             put the job off without using an attempt
    └── Cancelled            a person cancelled this job while it ran
"""

from __future__ import annotations


class CloudqError(Exception):
    """Root of the tree. `str(error)` is one clear line: what, where, what to do."""


class SettingsError(CloudqError):
    """A setting is missing or wrong."""


class QueueUnavailable(CloudqError):
    """Redis cannot be used now; the job was NOT accepted, so the caller may act directly instead."""


class QueueFull(QueueUnavailable):
    """Redis is at its memory limit and refuses new work; queued work still drains."""


class ScriptRefused(QueueUnavailable):
    """Redis answers, but this call's arguments or what it found made its script fail: trying again is vain."""


class NotFound(CloudqError):
    """The thing named does not exist."""


class QueueNotFound(NotFound):
    """No queue of that name is configured or was ever used."""


class JobNotFound(NotFound):
    """No job of that id exists, or it was removed."""


class Conflict(CloudqError):
    """The state of the job or queue does not allow this act."""


class AmbiguousId(Conflict):
    """An id prefix fits more than one job."""


class LeaseLost(Conflict):
    """The lease ran out and the job belongs to somebody else now, so nothing was changed."""


class Invalid(CloudqError):
    """The request is wrong and was refused whole."""


class InvalidPayload(Invalid):
    """A payload does not fit its model. `field` is a dotted path, `reason` says why."""

    def __init__(self, field: str, reason: str, *, job: str = "") -> None:
        self.field = field
        self.reason = reason
        self.job = job
        prefix = f"{job}: " if job else ""
        super().__init__(f"{prefix}{field}: {reason}")


class InvalidOptions(Invalid):
    """Job options that cannot be honoured."""


class NoProcessor(Invalid):
    """No processor of that job name serves that queue."""


class ReadOnly(CloudqError):
    """This process was started read-only."""


class UnreadableJob(CloudqError):
    """What is stored for a job cannot be decoded; it fails at once with this reason."""


class JobSignal(CloudqError):
    """Raised by a processor about its own job."""


class PermanentFailure(JobSignal):
    """Trying again cannot help: the job fails at once and uses no retries."""


class TemporaryFailure(JobSignal):
    """Trying again may help. `retry_after` (seconds) overrides the backoff when the peer named a time."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Deferred(JobSignal):
    """Put the job off for `delay` seconds; no attempt is used."""

    def __init__(self, delay: float, reason: str) -> None:
        self.delay = delay
        self.reason = reason
        super().__init__(reason)


class Cancelled(JobSignal):
    """A person cancelled the job; it ends as failed with this reason and is not retried."""
