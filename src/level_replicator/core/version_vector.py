"""Version vectors, and the cursors of the changes feed.

A version vector maps an origin to the stamp up to which every write of that origin is known (docs/design.md). It is a
dict of ints, encoded as 16 bytes an origin: origin u64, stamp u64, big-endian.

A cursor is the position of a reader in the changes feed, as a text that programs store and pass back. Its `vector`
covers the changes that were reported to the reader. Some changes below the vector were not reported, because they were
superseded, on the node that the reader read, by a change above the vector that the reader has not received yet.
Therefore a cursor also names that node, and the part of the node's vector above `vector` (`ahead`). A reader may
continue on the same node, or on a node whose vector covers `ahead`; on any other node it could wait for a change that
the node does not know.
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
    """Return the text form of an origin: 16 hexadecimal digits."""
    return f"{origin:016x}"


def covers(vector: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Return True if `vector` is at least `other` for every origin."""
    return vector == other or all(vector.get(origin, 0) >= stamp for origin, stamp in other.items())


def newer(vector: Vector, than: Vector) -> Vector:
    """Return the entries of `vector` that are above those of `than`. Fast if the two are equal, the common case."""
    if vector == than:
        return {}
    if not than:
        return dict(vector)
    return {origin: stamp for origin, stamp in vector.items() if stamp > than.get(origin, 0)}


def raise_to(vector: Vector, other: Vector) -> None:
    """Raise each entry of `vector`, in place, to the maximum of both vectors."""
    vector.update(newer(other, vector))


def encode_vector(vector: Mapping[int, int]) -> bytes:
    """Encode a vector as 16 bytes an origin, in its own order."""
    return struct.pack(f">{2 * len(vector)}Q", *chain.from_iterable(vector.items()))


def decode_vector(data: bytes) -> Vector:
    """Decode a vector. Raises RemoteProtocolError if it is malformed, too long, or contains an origin twice or a 0."""
    if len(data) % _PAIR.size or len(data) > MAX_VECTOR_ORIGINS * _PAIR.size:
        most = MAX_VECTOR_ORIGINS * _PAIR.size
        raise RemoteProtocolError(
            f"a vector has {len(data)} bytes; expected a multiple of {_PAIR.size}, at most {most}"
        )
    numbers = struct.unpack(f">{len(data) // _WORD}Q", data)
    vector: Vector = dict(zip(numbers[::2], numbers[1::2], strict=True))
    if len(vector) * _PAIR.size != len(data):
        raise RemoteProtocolError("a vector contains the same origin twice")
    if 0 in vector or 0 in vector.values():
        raise RemoteProtocolError("a vector contains origin 0 or stamp 0")
    return vector


def vector_difference(vector: Mapping[int, int], from_: Mapping[int, int]) -> tuple[Vector, list[int]]:
    """Return the difference that turns `from_` into `vector`: (changed or new entries, origins to remove)."""
    if vector == from_:
        return {}, []
    return dict(vector.items() - from_.items()), [origin for origin in from_ if origin not in vector]


def apply_difference(from_: Mapping[int, int], entries: Mapping[int, int], missing: Iterable[int]) -> Vector:
    """Apply the result of `vector_difference` to `from_`, and return the vector."""
    vector = {**from_, **entries}
    for origin in missing:
        vector.pop(origin, None)
    return vector


def encode_origins(origins: list[int]) -> bytes:
    """Encode origins as 8 bytes each."""
    return struct.pack(f">{len(origins)}Q", *origins)


def decode_origins(data: bytes) -> tuple[int, ...]:
    """Decode origins. Raises RemoteProtocolError if they are malformed or too many."""
    if len(data) % _WORD or len(data) > MAX_VECTOR_ORIGINS * _WORD:
        most = MAX_VECTOR_ORIGINS * _WORD
        raise RemoteProtocolError(
            f"a list of origins has {len(data)} bytes; expected a multiple of {_WORD}, at most {most}"
        )
    return struct.unpack(f">{len(data) // _WORD}Q", data)


_FORMAT_1 = "1."
"""Format 1, a vector only: a cursor of an earlier version of this library, or one that no node has made."""
_FORMAT_2 = "2."
_HEAD = struct.Struct(">QI")


@dataclass(slots=True)
class Cursor:
    """A position in the changes feed.

    vector  covers the changes that have been reported
    node    origin of the node that the reader read last; 0 if unknown
    ahead   entries of that node's vector that are above `vector`
    """

    vector: Vector
    node: int = 0
    ahead: Vector = field(default_factory=dict)

    def copy(self) -> "Cursor":
        """Return an independent copy."""
        return Cursor(dict(self.vector), self.node, dict(self.ahead))


def encode_cursor(cursor: Cursor) -> str:
    """Encode a cursor as text. Equal cursors have equal texts."""
    vector = encode_vector(dict(sorted(cursor.vector.items())))
    if not cursor.node:
        return _FORMAT_1 + _text_of(vector)
    ahead = encode_vector(dict(sorted(newer(cursor.ahead, cursor.vector).items())))
    return _FORMAT_2 + _text_of(_HEAD.pack(cursor.node, len(cursor.vector)) + vector + ahead)


def decode_cursor(text: str) -> Cursor:
    """Decode the text of a cursor. Raises ConfigError if `encode_cursor` did not make it."""
    try:
        if not isinstance(text, str):
            raise ValueError
        if text.startswith(_FORMAT_1):
            return Cursor(decode_vector(_bytes_of(text.removeprefix(_FORMAT_1))))
        if not text.startswith(_FORMAT_2):
            raise ValueError
        raw = _bytes_of(text.removeprefix(_FORMAT_2))
        node, count = _HEAD.unpack_from(raw)
        start, end = _HEAD.size, _HEAD.size + count * _PAIR.size
        if not node or end > len(raw):
            raise ValueError
        return Cursor(decode_vector(raw[start:end]), node, decode_vector(raw[end:]))
    except (ValueError, binascii.Error, struct.error, RemoteProtocolError):
        raise ConfigError(
            "since: not a cursor of a changes feed; expected a text that `cursor` of a feed returned, or None"
        ) from None


def _text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes_of(body: str) -> bytes:
    return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
