"""Bytes to frames. The length is checked before anything is kept for it."""

from collections.abc import Iterator

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_HANDSHAKE_FRAME_BYTES

_LENGTH_BYTES = 4
_TLS_HANDSHAKE = b"\x16\x03"
_TLS_ALERT = b"\x15\x03"


class FrameReader:
    """Collects what arrives and gives whole frames. `limit`: the most bytes that a frame may have."""

    def __init__(self) -> None:
        self.limit = MAX_HANDSHAKE_FRAME_BYTES
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of the frames that are whole now. Raises RemoteProtocolError for one above the limit.

        A caller that stops in the middle must not go on feeding."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH_BYTES:
                length = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
                if length > self.limit:
                    if buffer[start : start + 2] in (_TLS_HANDSHAKE, _TLS_ALERT):
                        raise RemoteProtocolError(
                            "the peer speaks TLS: this node needs keys (`pems`), or the peer none"
                        )
                    raise RemoteProtocolError(f"a frame of {length} bytes, {self.limit} are allowed here")
                end = start + _LENGTH_BYTES + length
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + _LENGTH_BYTES : end])
                start = end
                yield body
        finally:
            del buffer[:start]
