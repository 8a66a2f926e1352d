"""Version vectors: origin → newest stamp up to which everything of that origin is known.

A vector is a plain dict of ints. What the two words mean is in ARCHITECTURE.md; this file
has their bytes: sixteen an origin, big-endian.
"""

import struct
from collections.abc import Iterable, Mapping
from itertools import chain

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_VECTOR_ORIGINS

Vector = dict[int, int]
_PAIR = struct.Struct(">QQ")
_WORD = 8


def origin_name(origin: int) -> str:
    """How an origin is written for people: 16 hexadecimal digits."""
    return f"{origin:016x}"


def covers(vector: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Whether everything that `other` knows is known to `vector`."""
    return vector == other or all(vector.get(origin, 0) >= stamp for origin, stamp in other.items())


def newer(vector: Vector, than: Vector) -> Vector:
    """The lines of a vector that are above another one. Mostly there are none, and that is told at once."""
    if vector == than:
        return {}
    if not than:
        return dict(vector)
    return {origin: stamp for origin, stamp in vector.items() if stamp > than.get(origin, 0)}


def raise_to(vector: Vector, other: Vector) -> None:
    """Makes the vector the maximum of both."""
    vector.update(newer(other, vector))


def encode_vector(vector: Mapping[int, int]) -> bytes:
    return struct.pack(f">{2 * len(vector)}Q", *chain.from_iterable(vector.items()))


def decode_vector(data: bytes) -> Vector:
    """Raises RemoteProtocolError when these are not the bytes of a vector."""
    if len(data) % _PAIR.size or len(data) > MAX_VECTOR_ORIGINS * _PAIR.size:
        raise RemoteProtocolError(f"a vector of {len(data)} bytes")
    numbers = struct.unpack(f">{len(data) // _WORD}Q", data)
    vector: Vector = dict(zip(numbers[::2], numbers[1::2], strict=True))
    if len(vector) * _PAIR.size != len(data):
        raise RemoteProtocolError("a vector names an origin twice")
    if 0 in vector or 0 in vector.values():
        raise RemoteProtocolError("a vector holds origin or stamp 0")
    return vector


def differences(vector: Mapping[int, int], from_: Mapping[int, int]) -> tuple[Vector, list[int]]:
    """What makes a vector of another one: the lines that are not the same, and the origins that it does not have."""
    if vector == from_:
        return {}, []
    return dict(vector.items() - from_.items()), [origin for origin in from_ if origin not in vector]


def changed(from_: Mapping[int, int], lines: Mapping[int, int], missing: Iterable[int]) -> Vector:
    """The vector that `differences` came of."""
    vector = {**from_, **lines}
    for origin in missing:
        vector.pop(origin, None)
    return vector


def encode_origins(origins: list[int]) -> bytes:
    return struct.pack(f">{len(origins)}Q", *origins)


def decode_origins(data: bytes) -> tuple[int, ...]:
    """Raises RemoteProtocolError when these are not the bytes of origins."""
    if len(data) % _WORD or len(data) > MAX_VECTOR_ORIGINS * _WORD:
        raise RemoteProtocolError(f"origins of {len(data)} bytes")
    return struct.unpack(f">{len(data) // _WORD}Q", data)
