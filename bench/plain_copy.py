"""The simplest copy of a LevelDB over TCP, to compare catch-up with. It does not survive any fault."""

import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import plyvel

from bench.worker import Context

FRAME_PAIRS = 1_000
_LENGTH_BYTES = 4


def listen(context: Context, *, path: str) -> int:
    """Send the LevelDB at `path` to the first connection, then close it. Return the port."""
    db = context.closing.enter_context(plyvel.DB(path))
    listener = context.closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    thread = threading.Thread(target=_send, args=(db, listener))
    thread.start()
    context.closing.callback(thread.join)
    port: int = listener.getsockname()[1]
    return port


def receive(_context: Context, *, path: str, port: int) -> dict[str, float]:
    """Return the seconds from the connection to the last write, and the received bytes and pairs."""
    began = time.monotonic()
    received = copied = 0
    decode = msgspec.msgpack.Decoder(list[bytes]).decode
    with plyvel.DB(path, create_if_missing=True) as db, socket.create_connection(("127.0.0.1", port)) as peer:
        with peer.makefile("rb") as stream:
            while head := stream.read(_LENGTH_BYTES):
                body = stream.read(int.from_bytes(head, "big"))
                received += len(head) + len(body)
                flat = iter(decode(body))
                with db.write_batch() as batch:
                    for key in flat:
                        batch.put(key, next(flat))
                        copied += 1
        seconds = time.monotonic() - began
    return {"seconds": seconds, "bytes": received, "entries": copied}


def _send(db: plyvel.DB, listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        for body in _frames(db):
            peer.sendall(len(body).to_bytes(_LENGTH_BYTES, "big") + body)


def _frames(db: plyvel.DB) -> Iterator[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    flat: list[bytes] = []
    with db.iterator() as pairs:
        for pair in pairs:
            flat += pair
            if len(flat) == 2 * FRAME_PAIRS:
                yield encode(flat)
                flat = []
    if flat:
        yield encode(flat)
