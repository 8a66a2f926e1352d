"""A Redis client with the functions that the measurements need: commands, one after the other or in a pipeline."""

import socket
from typing import Any


class Client:
    """A client with one connection. Answers are bytes, integers or None; an error raises RuntimeError."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def call(self, *words: bytes) -> Any:
        self._socket.sendall(encode(words))
        return self._answer()

    def call_many(self, commands: list[tuple[bytes, ...]]) -> None:
        """Send all commands in one pipeline, and read and drop the answers."""
        self._socket.sendall(b"".join(map(encode, commands)))
        for _ in commands:
            self._answer()

    def info(self, section: bytes) -> dict[str, str]:
        lines = self.call(b"INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _answer(self) -> Any:
        line = self._stream.readline()
        if not line:
            raise RuntimeError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._stream.read(size + 2)[:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest


def encode(words: tuple[bytes, ...]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
