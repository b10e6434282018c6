"""Tasks of plain Huey style on the engine: results, retries, pipelines, chords, revocation, periodic tasks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from huey import crontab
from huey.api import chord, group
from huey.exceptions import CancelExecution, ConfigurationError, RateLimitExceeded, RetryTask, TaskException
from huey.serializer import Serializer, SignedSerializer

from cloudq_tui.engine.queries import QueueReader
from cloudq_tui.engine.transitions import QueueEngine
from cloudq_tui.errors import InvalidOptions, InvalidPayload, PermanentFailure, TemporaryFailure
from cloudq_tui.models.job import Backoff, Job, JobState
from cloudq_tui.worker.huey import CloudqHuey
from cloudq_tui.worker.tasks import milliseconds_until, moment

Until = Callable[..., Any]
Make = Callable[..., CloudqHuey]


def run_next(huey: CloudqHuey) -> Any:
    task = huey.dequeue()
    assert task is not None
    return huey.execute(task)


def only_job(reader: QueueReader, state: JobState, queue: str = "jobs") -> Job:
    (job,) = reader.page(queue, state, 0, 9)
    return reader.job(queue, job.id)


def test_a_result_is_read_once_and_the_record_keeps_it_for_people(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task()
    def add(a: int, b: int) -> int:
        return a + b

    result = add(1, b=2)
    assert run_next(huey) == 3
    assert (result(), huey.result_count()) == (3, 0)
    job = only_job(reader, JobState.COMPLETED)
    assert (job.id, job.name, job.result, job.data) == (result.id, "add", 3, {"args": [1], "kwargs": {"b": 2}})


def test_results_leave_by_themselves(make_huey: Make) -> None:
    huey = make_huey(result_ttl=50)

    @huey.task()
    def one() -> int:
        return 1

    result = one()
    run_next(huey)
    time.sleep(0.1)  # the time to live itself is what passes
    assert result() is None


def test_each_queue_has_its_own_tasks_by_name(make_huey: Make, states: Any) -> None:
    huey = make_huey()

    @huey.task(queue="a", name="same")
    def one() -> str:
        return "a"

    @huey.task(queue="b", name="same")
    def two() -> str:
        return "b"

    first, second = one(), two()
    assert {run_next(huey), run_next(huey)} == {"a", "b"}
    assert (first(), second()) == ("a", "b")
    assert states("jobs") == {}
    assert huey.served() == ("a", "b")


@pytest.mark.parametrize("queue", ["test", "a b", "x{y}", ""])
def test_names_no_queue_may_bear(huey: CloudqHuey, queue: str) -> None:
    with pytest.raises(ConfigurationError, match="no queue may be named"):
        huey.task(queue=queue)(print)


def test_retries_and_the_history_of_attempts(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task(retries=2)
    def bad() -> None:
        raise ValueError("no\nsecond line")

    result = bad()
    for _ in range(3):
        run_next(huey)
    assert huey.dequeue() is None
    job = only_job(reader, JobState.FAILED)
    assert (job.attempts_made, job.error) == (3, "ValueError: no")
    assert [(one.number, one.outcome) for one in job.attempts] == [(1, "retried"), (2, "retried"), (3, "error")]
    assert "raise ValueError" in job.attempts[0].traceback
    with pytest.raises(TaskException):
        result()


def test_the_delay_of_a_retry_grows(huey: CloudqHuey, reader: QueueReader) -> None:
    delays = []

    @huey.task(retries=3, retry_delay=10, retry_backoff=3)
    def bad() -> None:
        raise ValueError

    bad()
    for _ in range(3):
        run_next(huey)
        job = only_job(reader, JobState.DELAYED)
        delays.append(round(((job.due or 0) / 1000 - time.time()) / 10))
        huey.engine.promote("jobs", job.id)
    assert delays == [1, 3, 9]


def test_a_backoff_policy_of_the_record_wins(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task(retries=2, backoff=Backoff(first=0, delay=40_000))
    def bad() -> None:
        raise ValueError

    bad()
    run_next(huey)
    run_next(huey)  # the first retry comes at once
    job = only_job(reader, JobState.DELAYED)
    assert 35 < (job.due or 0) / 1000 - time.time() <= 40


@pytest.mark.parametrize(
    ("error", "made", "delayed"),
    [
        (lambda: RetryTask(delay=60), 0, True),
        (RetryTask, 0, False),
        (lambda: RateLimitExceeded("k", 60), 0, True),
        (lambda: TemporaryFailure("busy", retry_after=60), 1, True),
        (lambda: ValueError("x"), 1, False),
    ],
)
def test_which_outcomes_use_an_attempt(
    huey: CloudqHuey, reader: QueueReader, error: Callable[[], Exception], made: int, delayed: bool
) -> None:
    @huey.task(retries=1)
    def act() -> None:
        raise error()

    act()
    run_next(huey)
    job = only_job(reader, JobState.DELAYED if delayed else JobState.WAITING)
    assert job.attempts_made == made
    if delayed:
        assert 50 < (job.due or 0) / 1000 - time.time() <= 60


def test_a_permanent_failure_uses_no_retries(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task(retries=5)
    def act() -> None:
        raise PermanentFailure("no such address")

    act()
    run_next(huey)
    job = only_job(reader, JobState.FAILED)
    assert (job.error, job.attempts_made) == ("no such address", 1)


def test_cancel_execution_with_retry_is_tried_once_more(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task()
    def act() -> None:
        raise CancelExecution(retry=None)

    @huey.task()
    def again() -> None:
        raise CancelExecution(retry=True)

    act()
    run_next(huey)
    assert only_job(reader, JobState.FAILED).attempts[-1].outcome == "cancelled"
    again()
    run_next(huey)
    assert only_job(reader, JobState.WAITING).name == "again"


def test_revoked_and_expired_jobs_fail_apart(huey: CloudqHuey, reader: QueueReader, work: Any, until: Until) -> None:
    ran: list[int] = []

    @huey.task()
    def act(n: int) -> None:
        ran.append(n)

    act(1).revoke()
    act(2, expires=-1)
    with work(huey):
        until(lambda: len(reader.page("jobs", JobState.FAILED, 0, 9)) == 2)
    reasons = {reader.job("jobs", job.id).error for job in reader.page("jobs", JobState.FAILED, 0, 9)}
    assert reasons == {"revoked before it ran", "expired before it ran"}
    assert ran == []
    assert reader.snapshot(["jobs"]).queues[0].finishes == 0


def test_a_whole_task_revoked_until_a_time(huey: CloudqHuey, work: Any, until: Until) -> None:
    @huey.task()
    def act() -> int:
        return 1

    act.revoke(revoke_until=dt.datetime.now() - dt.timedelta(seconds=1))  # noqa: DTZ005 - as Huey takes it
    result = act()
    with work(huey):
        assert result(blocking=True, timeout=5) == 1
    assert not act.is_revoked()


def test_a_pipeline_and_a_chord_through_the_consumer(huey: CloudqHuey, work: Any) -> None:
    @huey.task()
    def add(a: int, b: int) -> int:
        return a + b

    @huey.task()
    def total(numbers: list[Any]) -> Any:
        return sum(numbers)

    with work(huey, workers=3):
        pipeline = huey.enqueue(add.s(1, 1).then(add, 5).then(add, 7))
        assert pipeline.get(blocking=True, timeout=5) == [2, 7, 14]
        gathered = huey.enqueue(chord([add.s(n, n) for n in range(20)], total.s()).then(add, 1))
        assert gathered.get(blocking=True, timeout=5) == 380
        many = huey.enqueue(group([add.s(n, 0) for n in range(50)]))
        assert many.get(blocking=True, timeout=5) == list(range(50))
    assert huey.kv.count() <= 22  # the members' results and the chord's second step, unread


def test_a_chord_with_a_failed_member_still_ends(huey: CloudqHuey, work: Any) -> None:
    @huey.task()
    def half(n: int) -> int:
        if n == 1:
            raise ValueError("odd")
        return n // 2

    @huey.task()
    def gather(results: list[Any]) -> list[str]:
        return [type(one).__name__ for one in results]

    with work(huey):
        result = huey.enqueue(chord([half.s(n) for n in (0, 1, 2)], gather.s()))
        assert result.get(blocking=True, timeout=5) == ["int", "Error", "int"]
    assert huey.kv.chord_results("none") == []


def test_an_error_handler_gets_the_error_and_an_id_of_its_own(huey: CloudqHuey, reader: QueueReader) -> None:
    seen: list[Any] = []

    @huey.task(retries=1)
    def bad() -> None:
        raise ValueError("no", 7)

    @huey.task()
    def report(error: BaseException) -> None:
        seen.append(error)

    huey.enqueue(bad.s().error(report))
    while huey.pending_count():
        run_next(huey)
    assert [(type(one).__name__, one.args, repr(one)) for one in seen] == [
        ("ValueError", ("no", 7), "ValueError('no', 7)")
    ] * 2
    assert len({job.id for job in reader.page("jobs", JobState.COMPLETED, 0, 9)}) == 2


def test_many_tasks_at_once(huey: CloudqHuey, work: Any) -> None:
    @huey.task()
    def double(n: int) -> int:
        return 2 * n

    results = huey.enqueue_many(double.s(n) for n in range(1200))
    assert results is not None
    assert len(huey) == 1200
    with work(huey, workers=4):
        assert [one.get(blocking=True, timeout=20) for one in results] == [2 * n for n in range(1200)]


def test_a_call_that_is_too_large_is_refused_and_tried_once(make_huey: Make, reader: QueueReader) -> None:
    huey = make_huey(max_payload=2000)

    @huey.task()
    def swallow(text: str) -> int:
        return len(text)

    @huey.task(retries=3)
    def feed(size: int) -> str:
        swallow("x" * size)
        return "x" * size

    with pytest.raises(InvalidPayload, match=r"^payload: takes 2,00\d bytes, max_payload allows 2,000; "):
        swallow("x" * 2000)
    with pytest.raises(InvalidPayload):
        huey.enqueue_many([swallow.s("x" * 2000)])
    assert len(huey) == 0
    swallow("x" * 1990)
    assert run_next(huey) == 1990
    feed(2000)
    run_next(huey)
    huey.enqueue(feed.s(1000).then(swallow.s("y" * 1000)))
    run_next(huey)
    run_next(huey)
    failed = reader.page("jobs", JobState.FAILED, 0, 9)
    assert [(job.name, job.attempts_made) for job in failed] == [("feed", 1), ("feed", 1)]
    assert all(job.error.startswith("InvalidPayload: payload: takes 2,0") for job in failed)


def test_a_bad_task_among_many_leaves_whole_hundreds_queued(huey: CloudqHuey) -> None:
    @huey.task()
    def show(n: Any) -> Any:
        return n

    for good, queued in ((99, 0), (150, 100)):
        with pytest.raises(InvalidPayload):
            huey.enqueue_many(show.s(n if n < good else object()) for n in range(200))
        assert len(huey) == queued


def test_huey_priorities_start_the_larger_first(huey: CloudqHuey) -> None:
    @huey.task()
    def show(n: int | None) -> int | None:
        return n

    for priority in (1, None, 9, -3):
        show(priority, priority=priority)
    assert [run_next(huey) for _ in range(4)] == [9, 1, None, -3]
    with pytest.raises(InvalidOptions):
        show(1, priority=1.5)
    with pytest.raises(InvalidOptions):
        show(1, priority=5000)
    assert len(huey) == 0


def test_a_lock_keeps_a_second_run_out(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task()
    @huey.lock_task("one")  # type: ignore[untyped-decorator]
    def act() -> int:
        return 1

    act()
    with huey.lock_task("one"):
        run_next(huey)
    assert "TaskLockedException" in only_job(reader, JobState.FAILED).error
    result = act()
    run_next(huey)
    assert result() == 1


def test_a_rate_limit_puts_the_rest_off(huey: CloudqHuey, states: Any) -> None:
    @huey.task()
    @huey.rate_limit("r", 2, per=3600)  # type: ignore[untyped-decorator]
    def act() -> int:
        return 1

    for _ in range(3):
        act()
    for _ in range(3):
        run_next(huey)
    assert states("jobs") == {"completed": 2, "delayed": 1}


def test_many_schedulers_add_a_periodic_task_once(make_huey: Make, states: Any) -> None:
    hueys = [make_huey() for _ in range(3)]
    for huey in hueys:

        @huey.periodic_task(crontab())
        def sweep() -> None:
            """Nothing."""

    consumers = [huey.create_consumer(workers=1) for huey in hueys]
    for consumer in consumers:
        consumer._create_scheduler().enqueue_periodic_tasks(None)
        consumer._create_scheduler().enqueue_periodic_tasks(None)
    assert sum(states("jobs").values()) in (1, 2)  # two when the minute turned just now
    ids = [task.id for task in hueys[0].pending()]
    assert all(one.startswith("sweep@") for one in ids)


def test_only_served_queues_are_scheduled_and_by_the_clock_of_their_zone(make_huey: Make) -> None:
    east = dt.timezone(dt.timedelta(hours=14))
    huey = make_huey(serve_queues=["a"], timezone=east)
    here = dt.datetime.now(east)
    if here.minute == 59:
        here += dt.timedelta(minutes=1)  # the hour is about to turn: either is right

    @huey.periodic_task(crontab(hour=f"{dt.datetime.now(east).hour},{here.hour}"), queue="a")
    def mine() -> None: ...

    @huey.periodic_task(crontab(), queue="b")
    def theirs() -> None: ...

    assert [task.name for task in huey.read_periodic(None)] == ["mine"]


@pytest.mark.parametrize("zone", [None, dt.timezone(dt.timedelta(hours=-3, minutes=-30))])
def test_a_minute_that_turns_while_it_is_read_is_one_all_the_same(
    make_huey: Make, monkeypatch: pytest.MonkeyPatch, zone: dt.tzinfo | None
) -> None:
    huey = make_huey(timezone=zone)
    turn = dt.datetime(2030, 5, 1, 2, 0, tzinfo=zone or dt.UTC)
    reads = iter([turn.timestamp() - 0.001])
    monkeypatch.setattr("cloudq_tui.worker.huey.time.time", lambda: next(reads, turn.timestamp()))

    @huey.periodic_task(crontab(hour=str((turn.hour - 1) % 24), minute="59"))
    def before() -> None: ...

    @huey.periodic_task(crontab(hour=str(turn.hour), minute="0"))
    def after() -> None: ...

    first, second = huey.read_periodic(None), huey.read_periodic(None)
    minute = int(turn.timestamp()) // 60
    assert [task.id for task in first] == [f"before@{minute - 1}"]
    assert [task.id for task in second] == [f"after@{minute}"]


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("utc", [True, False])
def test_a_delay_is_the_same_across_a_change_of_clocks(monkeypatch: pytest.MonkeyPatch, utc: bool) -> None:
    for start in ("2026-03-29T00:30:00+00:00", "2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00"):
        at = dt.datetime.fromisoformat(start).timestamp()
        monkeypatch.setattr(time, "time", lambda at=at: at)
        for seconds in (60, 3600, 7200):
            assert milliseconds_until(moment(None, seconds, utc), utc) == seconds * 1000
            aware = dt.datetime.fromtimestamp(at + seconds, dt.UTC)
            assert milliseconds_until(moment(aware, None, utc), utc) == seconds * 1000
    assert milliseconds_until(moment(None, -5, utc), utc) == 0
    assert milliseconds_until(None, utc) == 0


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Order:
    number: int
    color: Color


def test_arguments_come_back_as_the_annotations_say(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task()
    def ship(order: Order, colors: list[Color], when: dt.datetime, plain: int = 0, *, note: Order | None = None) -> Any:
        return [type(order), colors, when, plain, note]

    now = dt.datetime.now(dt.UTC)
    ship(Order(1, Color.RED), [Color.RED], now, "text", note=Order(2, Color.RED))
    task = huey.dequeue()
    assert task is not None
    assert task.execute() == [Order, [Color.RED], now, "text", Order(2, Color.RED)]
    huey.execute(task)
    assert only_job(reader, JobState.FAILED).error.startswith("InvalidPayload")  # a class is no result


def test_what_cannot_be_stored_is_refused_when_enqueued(huey: CloudqHuey) -> None:
    @huey.task()
    def act(thing: Any) -> None: ...

    with pytest.raises(InvalidPayload, match=r"args\[0\].x: builtins.object"):
        act({"x": object()})
    assert len(huey) == 0


def test_data_that_does_not_fit_its_annotation_is_unreadable(huey: CloudqHuey, reader: QueueReader) -> None:
    @huey.task(retries=3)
    def ship(order: Order) -> None: ...

    ship({"number": "x", "color": "red"})
    assert huey.dequeue() is None
    job = only_job(reader, JobState.FAILED)
    assert job.error.startswith("order.number: ")
    assert job.attempts[-1].outcome == "unreadable"


def test_pickle_is_refused() -> None:
    for serializer in (Serializer(), SignedSerializer(secret="s")):
        with pytest.raises(ConfigurationError, match="unpickle"):
            CloudqHuey(serializer=serializer)


def test_nothing_stored_is_a_pickle(huey: CloudqHuey, engine: QueueEngine) -> None:
    @huey.task(context=True)
    def act(pair: tuple[int, int], task: Any = None) -> Any:
        return {"pair": pair, 1: {2}}

    result = act((1, 2))
    run_next(huey)
    client = engine.connection.client
    for key in client.scan_iter():
        if client.type(key) == b"string":
            with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError)):
                pickle.loads(client.get(key))
    assert result() == {"pair": (1, 2), 1: {2}}


@pytest.mark.parametrize("compression", [{"compression": True}, {"compression": True, "use_zlib": True}])
def test_compressed_results(make_huey: Make, compression: dict[str, bool]) -> None:
    huey = make_huey(**compression)

    @huey.task()
    def long() -> str:
        return "x" * 10_000

    result = long()
    run_next(huey)
    assert len(next(iter(huey.all_results().values()))) < 200
    assert result() == "x" * 10_000


def test_immediate_mode_needs_no_server() -> None:
    huey = CloudqHuey(url="redis://127.0.0.1:1/0", immediate=True)

    @huey.task(context=True)
    def act(n: int, task: Any = None) -> int:
        task.update_progress(50, "half")
        task.checkpoint({"n": n})
        assert task.job.progress == (50, "half")
        with task.lock("k") as owned:
            assert owned
        return n + int(task.last_checkpoint["n"])

    assert act(2)() == 4
    results = huey.enqueue_many([act.s(1), act.s(3)])
    assert results is not None
    assert results.get() == [2, 6]


def test_arguments_of_huey_and_of_its_redis_storages() -> None:
    huey = CloudqHuey("n", host="h", port=7, db=3, password="p@ss", store_none=True, utc=False, notify_result=True)
    kwargs = huey.engine.connection.client.connection_pool.connection_kwargs
    assert (kwargs["host"], kwargs["port"], kwargs["db"], kwargs["password"]) == ("h", 7, 3, "p@ss")
    assert (huey.store_none, huey.utc) == (True, False)
    for wrong in ({"url": "redis://h", "host": "h"}, {"connection_pool": object()}, {"colour": 1}):
        with pytest.raises(ConfigurationError):
            CloudqHuey(**wrong)
