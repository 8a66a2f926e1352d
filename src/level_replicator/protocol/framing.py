"""Splits received bytes into frames. The length of a frame is checked before any memory is used for it."""

from collections.abc import Iterator

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_HANDSHAKE_FRAME_BYTES

_LENGTH_BYTES = 4
_TLS_HANDSHAKE = b"\x16\x03"
_TLS_ALERT = b"\x15\x03"
_HTTP_REQUESTS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")
_HTTP_RESPONSE = b"HTTP"


def is_http_request(data: bytes) -> bool:
    """Return whether the first bytes of a connection are those of an HTTP request. No valid frame begins like that:
    its length would be above every limit."""
    return data[:_LENGTH_BYTES] in _HTTP_REQUESTS


class FrameReader:
    """Collects received bytes and yields complete frames. `limit`: the most bytes that a frame may have."""

    def __init__(self) -> None:
        self.limit = MAX_HANDSHAKE_FRAME_BYTES
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the bodies of the frames that are complete now. Raises RemoteProtocolError for a frame above the limit.

        A caller that does not exhaust the iterator must not call `feed` again."""
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
                    begin = bytes(buffer[start : start + _LENGTH_BYTES])
                    if begin == _HTTP_RESPONSE or is_http_request(begin):
                        raise RemoteProtocolError(
                            "the peer speaks HTTP, not the replication protocol: check address and port in `servers`"
                        )
                    raise RemoteProtocolError(
                        f"a frame has {length} bytes, expected at most {self.limit}: the peer is no node or is damaged"
                    )
                end = start + _LENGTH_BYTES + length
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + _LENGTH_BYTES : end])
                start = end
                yield body
        finally:
            del buffer[:start]
