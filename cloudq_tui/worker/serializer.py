"""Huey's Serializer on the tagged JSON of engine/codec.py, and Huey's own types under tags of their own."""

from __future__ import annotations

from typing import Any

from huey.exceptions import ConfigurationError
from huey.registry import Message
from huey.serializer import Serializer
from huey.utils import SKIPPED, Error

from cloudq_tui.engine import codec

_FIELDS = frozenset(Message._fields)


def _write_message(message: Any) -> dict[str, Any]:
    return {name: value for name, value in message._asdict().items() if value is not None}


def _read_message(plain: dict[str, Any]) -> Any:
    # A later Huey may know more fields than this one: what it cannot place is left out.
    return Message(**{name: value for name, value in plain.items() if name in _FIELDS})


codec.register("huey.error", Error, lambda error: error.metadata, Error)
codec.register("huey.skipped", type(SKIPPED), lambda _: None, lambda _: SKIPPED)
codec.register("huey.message", Message, _write_message, _read_message)


class CloudqSerializer(Serializer):  # type: ignore[misc]
    """What Huey stores of results, revocations and locks. Compression is Huey's own."""

    def __init__(self, compression: bool = False, compression_level: int = 6, use_zlib: bool = False) -> None:
        super().__init__(compression, compression_level, use_zlib)

    def _serialize(self, data: Any) -> bytes:
        return codec.encode(data)

    def _deserialize(self, data: bytes) -> Any:
        return codec.decode(data)


def checked(serializer: Serializer | None, compression: bool, use_zlib: bool) -> CloudqSerializer:
    """The serializer to use. Raises ConfigurationError for one that would unpickle what it finds in Redis."""
    if serializer is None:
        return CloudqSerializer(compression, use_zlib=use_zlib)
    if not isinstance(serializer, CloudqSerializer):
        raise ConfigurationError(
            f"{type(serializer).__name__} is refused: it may unpickle what lies in Redis, and who can write there "
            "must not run code in a worker. Leave serializer= out, or derive yours from CloudqSerializer."
        )
    return serializer
