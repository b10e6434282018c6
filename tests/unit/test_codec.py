"""The codec: what goes in comes out, what cannot is refused by name, bad bytes only fail."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
import zoneinfo
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from cloudq_tui.engine import codec
from cloudq_tui.errors import InvalidPayload, UnreadableJob

ZONES = st.one_of(
    st.none(),
    st.sampled_from([dt.UTC, zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Asia/Shanghai")]),
    st.builds(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)), st.integers(-1439, 1439)),
)
KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
HASHABLE = st.recursive(KEYS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.just(codec.TAG), inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal in value and in every type on the way: `1 == True == 1.0` must not hide a loss."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dt.datetime | dt.time):
        return (left.replace(tzinfo=None), left.utcoffset(), left.fold) == (
            right.replace(tzinfo=None),
            right.utcoffset(),
            right.fold,
        )
    return bool(left == right)


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_what_goes_in_comes_out(value: Any) -> None:
    data = codec.encode(value)
    assert same(codec.decode(data), value)
    json.loads(data.decode())  # any JSON reader can follow


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.text(), VALUES, max_size=3))
@settings(deadline=None)
def test_a_call_comes_back_with_a_tuple_of_args(args: list[Any], kwargs: dict[str, Any]) -> None:
    call = codec.unpack_call(codec.pack_call(args, kwargs, {"e": 1}))
    assert same(call.args, tuple(args))
    assert same(call.kwargs, kwargs)
    assert call.extras == {"e": 1}


@given(st.binary() | VALUES.map(codec.encode))
@settings(deadline=None)
def test_any_bytes_decode_or_are_unreadable(data: bytes) -> None:
    for read in (codec.decode, codec.unpack_call):
        with contextlib.suppress(UnreadableJob):
            read(data)


@given(VALUES)
@settings(deadline=None)
def test_plain_data_is_strict_json(value: Any) -> None:
    json.dumps(codec.to_plain(value), allow_nan=False)


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, 2**63, 2**64, -(2**63) - 1, "\ud83d", "\ud83d\ude00", -0.0], ids=ascii
)
def test_numbers_and_text_at_the_edges(value: Any) -> None:
    assert repr(codec.decode(codec.encode(value))) == repr(value)


def test_a_number_of_more_digits_than_python_parses() -> None:
    assert codec.decode(codec.encode([10**5000, -(10**5000)])) == [10**5000, -(10**5000)]


def test_nan() -> None:
    assert math.isnan(codec.decode(codec.encode(math.nan)))
    assert codec.decode(codec.encode(decimal.Decimal("sNaN"))).is_snan()


def test_a_zone_travels_by_its_name_and_the_fold_is_kept() -> None:
    late = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    back = codec.decode(codec.encode(late))
    assert back.tzinfo == late.tzinfo
    assert back.timestamp() == late.timestamp()
    naive = codec.decode(codec.encode(dt.datetime(2026, 10, 25, 2, 30, fold=1)))  # noqa: DTZ001
    assert naive.fold == 1


def test_an_unknown_zone_keeps_the_moment() -> None:
    data = b'{"~":"datetime","v":"2026-01-01T00:00:00+08:00","z":"Mars/Olympus"}'
    assert codec.decode(data) == dt.datetime(2025, 12, 31, 16, tzinfo=dt.UTC)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Box:
    corner: Point
    tags: set[str]


class Model(BaseModel):
    name: str
    inner: Box


def test_classes_travel_as_plain_data() -> None:
    assert codec.decode(codec.encode([Color.RED, Level.HIGH])) == ["red", 3]
    assert codec.decode(codec.encode(Point(1, 2))) == (1, 2)
    model = Model(name="m", inner=Box(Point(1, 2), {"a"}))
    assert codec.decode(codec.encode(model)) == {"name": "m", "inner": {"corner": (1, 2), "tags": {"a"}}}
    assert codec.decode(codec.encode(OrderedDict(a=1))) == {"a": 1}


class OddError(Exception):
    def __init__(self, code: int, thing: object) -> None:
        super().__init__(code, thing)

    def __str__(self) -> str:
        return "odd!"


def test_an_exception_comes_back_as_a_stand_in() -> None:
    thing = object()
    error = codec.decode(codec.encode(OddError(7, thing)))
    assert isinstance(error, codec.RemoteError)
    assert type(error).__name__ == "OddError"
    assert (str(error), repr(error), error.args) == ("odd!", repr(OddError(7, thing)), (7, repr(thing)))
    again = codec.decode(codec.encode(error))
    assert (type(again).__name__, repr(again), again.args) == ("OddError", repr(error), error.args)


def test_an_exception_that_cannot_be_shown_is_still_told() -> None:
    class BrokenError(Exception):
        def __repr__(self) -> str:
            raise ValueError

        __str__ = __repr__

    assert repr(codec.decode(codec.encode(BrokenError()))) == "<BrokenError>"


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "kind"),
    [
        ([{"x": object()}], {}, "args[0].x", "object"),
        ([1, [2, {"a": [lambda: 0]}]], {}, "args[1][1].a[0]", "function"),
        ([], {"when": {"at": (1, object())}}, "kwargs.when.at[1]", "object"),
        ([{3: object()}], {}, "args[0][3]", "object"),
        ([{"~": object()}], {}, "args[0]['~']", "object"),
        ([bytearray()], {}, "args[0]", "bytearray"),
        ([Color], {}, "args[0]", "EnumType"),
        ([Box], {}, "args[0]", "type"),
    ],
)
def test_a_refusal_names_the_argument_and_the_type(
    args: list[Any], kwargs: dict[str, Any], path: str, kind: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        codec.pack_call(args, kwargs)
    assert caught.value.field == path
    assert kind in caught.value.reason


def test_what_would_come_back_unhashable_is_refused_when_enqueued() -> None:
    @dataclasses.dataclass(frozen=True)
    class Key:
        a: int

    for value in ({Key(1)}, {Key(1): 1}, {(1, Key(1))}, frozenset({Key(1)})):
        with pytest.raises(InvalidPayload, match="unhashable"):
            codec.encode(value)


def test_endless_nesting_is_refused_both_ways() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidPayload, match="nested too deeply"):
        codec.encode(loop)
    with pytest.raises(UnreadableJob):
        codec.decode(b"[" * 100_000)


def test_nothing_is_imported_by_a_name_in_the_data() -> None:
    error = codec.decode(b'{"~":"error","n":"SystemExit","v":[],"r":"SystemExit()","s":""}')
    assert isinstance(error, codec.RemoteError)
    assert not isinstance(error, SystemExit)
    assert codec.decode(b'{"~":"os.system","v":["true"]}') == codec.Opaque("os.system", ["true"])


def test_an_unknown_tag_travels_on_unchanged() -> None:
    data = b'{"~":"later.version","v":[1]}'
    assert codec.encode(codec.decode(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"1" * 5000,
        b'{"~":"uuid","v":"no"}',
        b'{"~":"tuple"}',
        b'{"~":"set","v":[[1]]}',
        b'{"~":"dict","v":[[1]]}',
        b'{"~":"bytes","v":"?"}',
        b'{"~":"datetime","v":1}',
        b'{"~":"datetime","v":"2026-01-01","z":"../../etc/passwd"}',
        b'{"~":{},"v":1}',
        b'{"~":"error","n":3,"v":[],"r":"","s":""}',
    ],
)
def test_bad_data_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableJob):
        codec.decode(data)


@pytest.mark.parametrize("data", [b"null", b"{}", b"[]", b"[{}]", b"[[],[]]", b"[[],{},[]]", b"[[],{},{},1]"])
def test_what_is_not_a_call_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableJob, match="not a call"):
        codec.unpack_call(data)


def test_a_call_is_as_short_as_it_can_be() -> None:
    assert codec.pack_call(({"to": "a"},), {}) == b'[[{"to":"a"}]]'
    assert codec.pack_call((), {"n": 1}) == b'[[],{"n":1}]'
    assert codec.pack_call((), {}, {"x": 1}) == b'[[],{},{"x":1}]'


def test_people_see_the_payload_or_the_arguments() -> None:
    assert codec.visible_data(codec.Call(({"to": "a"},), {})) == {"to": "a"}
    assert codec.visible_data(codec.Call((1, (2,)), {"k": 3})) == {"args": [1, (2,)], "kwargs": {"k": 3}}
    assert codec.visible_data(codec.Call(({"to": "a"},), {"k": 1})) == {
        "args": [{"to": "a"}],
        "kwargs": {"k": 1},
    }


def test_plain_data_for_showing() -> None:
    shown = codec.to_plain(
        {1: (b"x\xff", uuid.UUID(int=1), dt.date(2026, 1, 2), ValueError("no"), math.inf, Level.HIGH)}
    )
    assert shown == {
        "1": ["x\\xff", "00000000-0000-0000-0000-000000000001", "2026-01-02", "ValueError('no')", "inf", 3]
    }


def test_a_registered_type_travels_under_its_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_FORMS", dict(codec._FORMS))
    monkeypatch.setattr(codec, "_READERS", dict(codec._READERS))

    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    codec.register("shop.money", Money, lambda money: (money.cents,), lambda plain: Money(plain[0]))
    assert codec.decode(codec.encode([Money(5)]))[0].cents == 5
