"""Keys and values that neither LevelDB's order nor its compression makes cheaper than real ones."""

from collections.abc import Iterator
from random import Random

KEY_BYTES = 16
VALUE_BYTES = 100

_ODD = 0x9E37_79B9_7F4A_7C15  # an odd factor is a bijection of 64 bits: keys are distinct, and in no order
_MASK = (1 << 64) - 1
_STRIDE = 7919
_POOL_BYTES = 1 << 20


def pairs(count: int) -> Iterator[tuple[bytes, bytes]]:
    """The same `count` pairs in each process: distinct keys of 16 bytes, values of 100 random bytes."""
    # values cut from one pool repeat bytes only far beyond the 4 KiB that LevelDB compresses at a time
    pool = Random(1).randbytes(_POOL_BYTES)
    last = _POOL_BYTES - VALUE_BYTES
    for number in range(count):
        start = number * _STRIDE % last
        yield b"%016x" % (number * _ODD & _MASK), pool[start : start + VALUE_BYTES]
