"""Every key name, once. The scripts receive these suffixes as the Lua table `K`.

All keys of one queue share the hash tag `{PREFIX:QUEUE}`, so that one script may touch them all on a cluster.
What belongs to no queue shares `{PREFIX}`; the key-value storage of one Huey instance shares `{PREFIX:@NAME}`.
"""

from __future__ import annotations

from typing import Final

SUFFIXES: Final[dict[str, str]] = {
    "waiting": ":w",  # zset id -> place: rank x 2^42 + sequence
    "delayed": ":d",  # zset id -> due, epoch ms
    "active": ":a",  # zset id -> end of its lease, epoch ms
    "completed": ":c",  # zset id -> finished, epoch ms
    "failed": ":f",  # zset id -> finished, epoch ms
    "meta": ":m",  # hash: seq; pause by/why/since/until; limiter max/duration
    "limiter": ":lim",  # zset one member per start in the window -> epoch ms; also under the shared base
    "wake": ":wake",  # zset with at most one member: wakes one waiting worker, holds no truth
    "events": ":ev",  # stream, capped
    "totals": ":t",  # hash: counters and histograms by job name
    "minute": ":h:",  # + epoch minute: hash of counters, by 5 s slot for in and out; kept 25 h
    "record": ":j:",  # + id: hash of short fields
    "payload": ":p:",  # + id: the encoded call
    "error": ":x:",  # + id: the last error, one line
    "attempts": ":e:",  # + id: list of attempts that did not complete, JSON
    "log": ":l:",  # + id: list of log lines
    "checkpoint": ":k:",  # + id
    "result": ":o:",  # + id: what the processor returned, for people
    "unique": ":u:",  # + id: an id chosen by its producer was used
    "request": ":rq:",  # + who asks: the last claim, so that a repeated call gets the same jobs
    "limit": ":L:",  # + key: zset of places taken by JobContext.limit
    "trash": ":tr:",  # + act: hash pages, jobs; + act:page: hash id -> where the job stood, for an undo
    "lock": ":K:",  # + key: the lease that owns it
    "refused": ":KW:",  # + key of a lock: set of ids that were refused it
    "outbox": ":out",  # list: on a cluster, what finished jobs left for other slots until it is delivered
}

QUEUES: Final = ":queues"  # set of queue names that ever had a job or a worker
WORKERS: Final = ":workers"  # zset worker id -> presence ends, epoch ms
WORKER: Final = ":worker:"  # + worker id: presence, JSON
CATALOG: Final = ":catalog"  # hash "queue\nname" -> JSON
AUDIT: Final = ":audit"  # stream, capped
KV: Final = ":kv:"  # + key: one entry of a Huey instance's storage
CHORD: Final = ":chord:"  # + chord id: hash member index -> result
COUNTER: Final = ":n:"  # + key: one counter of a Huey instance

SEQUENCE_SPAN: Final = 2**42


def queue_base(prefix: str, queue: str) -> str:
    return f"{{{prefix}:{queue}}}"


def shared_base(prefix: str) -> str:
    return f"{{{prefix}}}"


def space_base(prefix: str, space: str) -> str:
    return f"{{{prefix}:@{space}}}"
