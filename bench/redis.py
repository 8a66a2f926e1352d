"""Redis on our work: a leader with an append-only file, and one replica. Found as `redis-server` on PATH."""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.data import key_of, pairs
from bench.latency import PER_S
from bench.resp import Client

NAME = "Redis, over a socket"
_START_TIMEOUT_S = 10.0
_LOOK_S = 0.0005
_NOWHERE = b"1"
"""A port where no server listens: so a replica leaves its leader, and still remembers where it was in its stream."""


def version(_peers: Path) -> str | None:
    """Return the version of Redis, or None if it is not installed."""
    if (found := shutil.which("redis-server")) is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return next((word.removeprefix("v=") for word in said if word.startswith("v=")), "unknown")


class Server:
    """A redis-server in a process, which `close` ends."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(path),
            "save": "",
            "appendonly": "yes",
            "repl-diskless-sync-delay": "0",
            "repl-backlog-size": "256mb",
        }
        command = ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            self.client = self._connect()
        except BaseException:
            self._end()
            raise

    def _connect(self) -> Client:
        give_up = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                return Client(self.port)
            except OSError:
                if time.monotonic() > give_up or self._process.poll() is not None:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        self.client.close()
        self._end()

    def _end(self) -> None:
        # what it has is not needed any more, and while it rewrites its file it would not end for less
        self._process.kill()
        self._process.wait()


class Pair:
    """See others.Pair. Connecting again after `disconnect` goes on in the leader's stream."""

    def __init__(self, directory: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._first, self._second = (self._start(directory / name) for name in ("first", "second"))

    def _start(self, path: Path) -> Server:
        server = Server(path)
        self._stack.callback(server.close)
        return server

    def write(self, count: int, batch: int, first: int = 0, over: int | None = None) -> float:
        client = self._first.client
        ready = [
            (b"SET", key if over is None else key_of(number % over), value)
            for number, (key, value) in enumerate(pairs(count, first=first))
        ]
        began = time.monotonic()
        if batch == 1:
            for command in ready:
                client.call(*command)
        else:
            for start in range(0, count, batch):
                client.call_many(ready[start : start + batch])
        return time.monotonic() - began

    def connect(self) -> dict[str, float]:
        wire, began = self._wire_bytes(), time.monotonic()
        self._second.client.call(b"REPLICAOF", b"127.0.0.1", b"%d" % self._first.port)
        while not self._is_level():
            time.sleep(_LOOK_S)
        return {"seconds": time.monotonic() - began, "bytes": self._wire_bytes() - wire}

    def keep(self) -> None:
        """Do nothing: Redis keeps the connection."""

    def disconnect(self) -> None:
        self._second.client.call(b"REPLICAOF", b"127.0.0.1", _NOWHERE)
        while self._first.client.info(b"replication")["connected_slaves"] != "0":
            time.sleep(_LOOK_S)

    def latency(self, count: int, first: int) -> list[float]:
        """Poll the reader: its server runs in another process, so polling costs this process and not the replica."""
        write, read = self._first.client.call, self._second.client.call
        waits = []
        begin = time.monotonic()
        for number, (key, value) in enumerate(pairs(count, first=first)):
            time.sleep(max(0.0, begin + number / PER_S - time.monotonic()))
            began = time.monotonic()
            write(b"SET", key, value)
            while read(b"GET", key) is None:
                pass
            waits.append(1000 * (time.monotonic() - began))
        return waits

    def disk_bytes(self) -> tuple[int, int]:
        for server in (self._first, self._second):
            while server.client.info(b"persistence")["aof_rewrite_in_progress"] != "0":
                time.sleep(_LOOK_S)
        first, second = (
            sum(file.stat().st_size for file in server.path.rglob("*") if file.is_file())
            for server in (self._first, self._second)
        )
        return first, second

    def _wire_bytes(self) -> int:
        return int(self._first.client.info(b"stats")["total_net_repl_output_bytes"])

    def _is_level(self) -> bool:
        there, here = (server.client.info(b"replication") for server in (self._first, self._second))
        return here.get("master_link_status") == "up" and here["slave_repl_offset"] == there["master_repl_offset"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
