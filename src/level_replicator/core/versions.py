"""Version vectors: origin → newest stamp up to which everything of that origin is known.

A vector is a plain dict of ints. What the two words mean is in ARCHITECTURE.md; this file
has their bytes: sixteen an origin, big-endian.
"""

import struct
from collections.abc import Mapping

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_VECTOR_ORIGINS

Vector = dict[int, int]
_PAIR = struct.Struct(">QQ")


def origin_name(origin: int) -> str:
    """How an origin is written for people: 16 hexadecimal digits."""
    return f"{origin:016x}"


def covers(vector: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Whether everything that `other` knows is known to `vector`."""
    return all(vector.get(origin, 0) >= stamp for origin, stamp in other.items())


def encode_vector(vector: Mapping[int, int]) -> bytes:
    return b"".join(_PAIR.pack(origin, stamp) for origin, stamp in vector.items())


def decode_vector(data: bytes) -> Vector:
    """Raises RemoteProtocolError when these are not the bytes of a vector."""
    if len(data) % _PAIR.size or len(data) > MAX_VECTOR_ORIGINS * _PAIR.size:
        raise RemoteProtocolError(f"a vector of {len(data)} bytes")
    vector: Vector = dict(_PAIR.iter_unpack(data))
    if len(vector) * _PAIR.size != len(data):
        raise RemoteProtocolError("a vector names an origin twice")
    if 0 in vector or 0 in vector.values():
        raise RemoteProtocolError("a vector holds origin or stamp 0")
    return vector
