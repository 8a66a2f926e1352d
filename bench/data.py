"""Random keys and values: neither their order nor compression makes them cheaper for LevelDB than real ones."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

KEY_BYTES = 16
VALUE_BYTES = 100
BATCH = 1_000

_ODD = 0x9E37_79B9_7F4A_7C15  # an odd factor is a bijection of 64 bits: keys are distinct, and in no order
_MASK = (1 << 64) - 1
_STRIDE = 7919
_POOL_BYTES = 1 << 20


@cache
def _pool(size: int) -> bytes:
    return Random(1).randbytes(size)


def key_of(number: int) -> bytes:
    return b"%016x" % (number * _ODD & _MASK)


def pairs(count: int, value_bytes: int = VALUE_BYTES, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Return the same `count` pairs in each process: distinct keys of 16 bytes, random values. `first`: for others than
    those that begin at 0."""
    # values cut from one pool repeat bytes only far beyond the 4 KiB that LevelDB compresses at a time
    size = max(_POOL_BYTES, 4 * value_bytes)
    pool, last = _pool(size), size - value_bytes
    for number in range(first, first + count):
        start = number * _STRIDE % last
        yield key_of(number), pool[start : start + value_bytes]


def write_all(database: Any, count: int, value_bytes: int = VALUE_BYTES, first: int = 0) -> None:
    """Write pairs to a plyvel.DB or a replica, in batches of BATCH, or of 1 MiB where that is less."""
    most = max(1, min(BATCH, (1 << 20) // value_bytes))
    batch = database.write_batch()
    for number, (key, value) in enumerate(pairs(count, value_bytes, first), 1):
        batch.put(key, value)
        if number % most == 0 or number == count:
            batch.write()
            batch.clear()
