"""Where a reader of the changes feed is, as a text that programs store and hand back.

A cursor is a version vector. What it covers has been reported, or was superseded on the node that the reader read, by
something that the vector does not cover yet and that is still owed to the reader. So a cursor also names that node, and
says what it knew then: `ahead`, up to where the reader may be owed something, or may have seen something. Only on that
node, or where all of that is known, may the reader go on; elsewhere it could wait for a change that nobody there knows.
"""

import base64
import binascii
import struct
from dataclasses import dataclass, field

from level_replicator.core.errors import ConfigError, RemoteProtocolError
from level_replicator.core.versions import Vector, decode_vector, encode_vector, newer

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
