"""Version vectors: origin → newest stamp up to which everything of that origin is known. And cursors, which have one.

A vector is a plain dict of ints. What the two words mean is in ARCHITECTURE.md; this file has their bytes: sixteen an
origin, big-endian.

A cursor says how far a reader of the changes feed is, as a text that programs store and hand back. It is a version
vector, and more: what the vector covers has been reported, or was superseded, on the node that the reader read, by
something that the vector does not cover yet and that is still owed to the reader. So a cursor also names that node, and
says what it knew then: `ahead`, up to where the reader may be owed something, or may have seen something. The reader
may go on only on that node, or where all of that is known; elsewhere it could wait for a change nobody there knows.
"""

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from level_replicator.core.errors import ConfigError, RemoteProtocolError
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
    """The entries of a vector that are above another one. Mostly there are none, and that is found out at once."""
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
    """What makes a vector of another one: the entries that are not the same, and the origins that it does not have."""
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


_FORM_OF_VECTOR = "1."
"""The vector alone: of a cursor that an earlier version of this library made, or one that came from no node."""
_FORM = "2."
_HEAD = struct.Struct(">QI")
_LINE_BYTES = 16


@dataclass(slots=True)
class Cursor:
    """A place in the changes feed.

    vector  what has been reported
    node    the origin of the node that the reader read last; 0: not known
    ahead   what that node knew beyond the vector
    """

    vector: Vector
    node: int = 0
    ahead: Vector = field(default_factory=dict)

    def copy(self) -> "Cursor":
        return Cursor(dict(self.vector), self.node, dict(self.ahead))


def encode_cursor(cursor: Cursor) -> str:
    """Encodes a cursor: always to the same text."""
    vector = encode_vector(dict(sorted(cursor.vector.items())))
    if not cursor.node:
        return _FORM_OF_VECTOR + _text_of(vector)
    ahead = encode_vector(dict(sorted(newer(cursor.ahead, cursor.vector).items())))
    return _FORM + _text_of(_HEAD.pack(cursor.node, len(cursor.vector)) + vector + ahead)


def decode_cursor(text: str) -> Cursor:
    """Decodes a cursor. Raises ConfigError for what `encode_cursor` did not make."""
    try:
        if not isinstance(text, str):
            raise ValueError
        if text.startswith(_FORM_OF_VECTOR):
            return Cursor(decode_vector(_bytes_of(text.removeprefix(_FORM_OF_VECTOR))))
        if not text.startswith(_FORM):
            raise ValueError
        raw = _bytes_of(text.removeprefix(_FORM))
        node, count = _HEAD.unpack_from(raw)
        start, end = _HEAD.size, _HEAD.size + count * _LINE_BYTES
        if not node or end > len(raw):
            raise ValueError
        return Cursor(decode_vector(raw[start:end]), node, decode_vector(raw[end:]))
    except (ValueError, binascii.Error, struct.error, RemoteProtocolError):
        raise ConfigError("since: this is no cursor of a changes feed") from None


def _text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes_of(body: str) -> bytes:
    return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
