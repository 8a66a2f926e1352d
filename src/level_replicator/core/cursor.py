"""Where a reader of the changes feed is: a version vector, as a text that programs store and hand back."""

import base64
import binascii

from level_replicator.core.errors import ConfigError, RemoteProtocolError
from level_replicator.core.versions import Vector, decode_vector, encode_vector

_FORM = "1."


def encode_cursor(vector: Vector) -> str:
    """The same text for the same vector."""
    return _FORM + base64.urlsafe_b64encode(encode_vector(dict(sorted(vector.items())))).decode().rstrip("=")


def decode_cursor(text: str) -> Vector:
    """Raises ConfigError for what `encode_cursor` did not make."""
    try:
        if not isinstance(text, str) or not text.startswith(_FORM):
            raise ValueError
        body = text.removeprefix(_FORM)
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return decode_vector(raw)
    except (ValueError, binascii.Error, RemoteProtocolError):
        raise ConfigError("since: this is no cursor of a changes feed") from None
