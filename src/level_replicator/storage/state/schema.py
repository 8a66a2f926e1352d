"""Keys and small values of the replication set. Integers are big-endian, so that the log of an origin is in time order.

m                         meta: format, origin, directory identity, clean stop
l origin stamp            log: one entry (see core.entry)
i key                     index: the newest dot of the key (see core.entry)
v origin                  vector: stamp, and the stamp before the batch that set it
f origin                  floor: stamp up to which the log was truncated
h origin                  horizon: newest stamp of a tombstone that was dropped
d                         the newest stamp among all dropped tombstones
a                         applied: the last frame of a peer that was applied (origin, low, high)
g                         present while the index may hold rows of an incomplete bulk load
t                         touched: the keys of the last batch of a reconciliation or repair
c number                  a conflict that has not been reported yet (storage.state.conflict_queue)
x key                     lost: the index has a row of the key, but this node does not have its value
                          (storage.write.lost)
e origin                  history: the epochs of the origin, each with the stamp at which it began (core.epochs)
w origin                  written: newest stamp of a write of the origin that is stored under another dot (re-stamped)
b epoch                   branch: stamp above which this epoch and its successors are an origin of their own
r source origin           resume: intervals of `origin` that an unfinished scan of the peer `source` has applied
"""

import struct
from collections.abc import Iterable

from level_replicator.core.intervals import Interval, Intervals

META = b"m"
APPLIED = b"a"
LOG = b"l"
INDEX = b"i"
VECTOR = b"v"
FLOOR = b"f"
HORIZON = b"h"
DROPPED = b"d"
TOUCHED = b"t"
RESUME = b"r"
BULK_LOADING = b"g"
CONFLICT = b"c"
LOST = b"x"
HISTORY = b"e"
BRANCH = b"b"
WRITTEN = b"w"

_ONE = struct.Struct(">cQ")
_TWO = struct.Struct(">cQQ")


pack_log = _TWO.pack
"""Inline form of `log_key` for hot loops: pack_log(LOG, origin, stamp)."""


def log_key(origin: int, stamp: int) -> bytes:
    return _TWO.pack(LOG, origin, stamp)


def log_range(origin: int, low: int, high: int) -> tuple[bytes, bytes]:
    """Return the bounds for Reader.scan of the entries in (low, high].

    The trailing byte makes both bounds fall between possible keys, so the range excludes `low` and includes `high`,
    unlike the ranges of an engine."""
    return _TWO.pack(LOG, origin, low) + b"\0", _TWO.pack(LOG, origin, high) + b"\0"


def log_dot(key: bytes) -> tuple[int, int]:
    """Return the (stamp, origin) of a log key."""
    _, origin, stamp = _TWO.unpack(key)
    return stamp, origin


def vector_key(origin: int) -> bytes:
    return _ONE.pack(VECTOR, origin)


def floor_key(origin: int) -> bytes:
    return _ONE.pack(FLOOR, origin)


def horizon_key(origin: int) -> bytes:
    return _ONE.pack(HORIZON, origin)


def history_key(origin: int) -> bytes:
    return _ONE.pack(HISTORY, origin)


def branch_key(epoch: int) -> bytes:
    return _ONE.pack(BRANCH, epoch)


def written_key(origin: int) -> bytes:
    return _ONE.pack(WRITTEN, origin)


def key_origin(key: bytes) -> int:
    """Return the origin in a key of vector, floor, horizon, history or written; the epoch in a key of a branch."""
    origin: int = _ONE.unpack(key)[1]
    return origin


def resume_key(source: int, origin: int) -> bytes:
    return _TWO.pack(RESUME, source, origin)


def resume_pair(key: bytes) -> tuple[int, int]:
    """Return the (source, origin) of a resume key."""
    _, source, origin = _TWO.unpack(key)
    return source, origin


def conflict_key(number: int) -> bytes:
    return _ONE.pack(CONFLICT, number)


def conflict_number(key: bytes) -> int:
    number: int = _ONE.unpack(key)[1]
    return number


def following(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with a prefix of one byte."""
    return bytes([prefix[0] + 1])


# -- values

_ONE_NUMBER = struct.Struct(">Q")
_TWO_NUMBERS = struct.Struct(">QQ")
_THREE_NUMBERS = struct.Struct(">QQQ")


def encode_vector_entry(stamp: int, before: int) -> bytes:
    """Encode an entry of the vector.

    After a kill the log above the stamp `before` is replayed; usually it is the entry of the vector before this
    batch."""
    return _TWO_NUMBERS.pack(stamp, before)


def decode_vector_entry(value: bytes) -> Interval:
    """Return (before, stamp)."""
    stamp, before = _TWO_NUMBERS.unpack(value)
    return before, stamp


def encode_stamp(stamp: int) -> bytes:
    """Encode a stamp of floor, horizon, written or branch, or the newest dropped tombstone."""
    return _ONE_NUMBER.pack(stamp)


def decode_stamp(value: bytes) -> int:
    stamp: int = _ONE_NUMBER.unpack(value)[0]
    return stamp


def encode_applied(origin: int, low: int, high: int) -> bytes:
    return _THREE_NUMBERS.pack(origin, low, high)


def decode_applied(value: bytes) -> tuple[int, int, int]:
    """Return (origin, low, high)."""
    return _THREE_NUMBERS.unpack(value)


def encode_intervals(intervals: Iterable[Interval]) -> bytes:
    return b"".join(_TWO_NUMBERS.pack(low, high) for low, high in intervals)


def decode_intervals(value: bytes) -> Intervals:
    return Intervals(_TWO_NUMBERS.iter_unpack(value))
