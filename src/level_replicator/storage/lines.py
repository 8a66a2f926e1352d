"""The small values of the replication set: vector, floor, horizon, resume, last applied frame."""

import struct
from collections.abc import Iterable

from level_replicator.core.intervals import Interval, Intervals

_ONE = struct.Struct(">Q")
_TWO = struct.Struct(">QQ")
_THREE = struct.Struct(">QQQ")


def encode_vector_line(stamp: int, before: int) -> bytes:
    """`before`: the stamp that the line held before this batch, so that the batch can be done again."""
    return _TWO.pack(stamp, before)


def decode_vector_line(line: bytes) -> Interval:
    """(before, stamp)."""
    stamp, before = _TWO.unpack(line)
    return before, stamp


def encode_stamp(stamp: int) -> bytes:
    """Of a floor, a horizon, or the newest dropped tombstone."""
    return _ONE.pack(stamp)


def decode_stamp(line: bytes) -> int:
    stamp: int = _ONE.unpack(line)[0]
    return stamp


def encode_applied(origin: int, low: int, high: int) -> bytes:
    return _THREE.pack(origin, low, high)


def decode_applied(line: bytes) -> tuple[int, int, int]:
    """(origin, low, high)."""
    return _THREE.unpack(line)


def encode_intervals(intervals: Iterable[Interval]) -> bytes:
    return b"".join(_TWO.pack(low, high) for low, high in intervals)


def decode_intervals(line: bytes) -> Intervals:
    return Intervals(_TWO.iter_unpack(line))
