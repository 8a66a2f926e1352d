"""A session of a client with one node: requests, one after another, over a socket of its own."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from typing import Any

from level_replicator.testing.process import ProcessEnded
from tests.harness.waiting import DEADLINE_S
from tests.integration.judges.disk import Fault


class Refused(Exception):
    """The node answered with an error: a write may have taken effect or not."""


class Session:
    """Each request raises ProcessEnded if the node dies before it answers, and Refused if the answer is an error."""

    def __init__(self, port: int, name: str) -> None:
        """`name`: of the node. Raises ProcessEnded when there is another one at the port, or none."""
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        except OSError as error:
            raise ProcessEnded(f"node {name} cannot be reached: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("r")
        try:
            if self._ask("name") != name:
                raise ProcessEnded(f"node {name} is down, and another node has taken its port")
        except BaseException:
            self.close()
            raise

    def put(self, key: str, value: str) -> None:
        self._ask("put", key=key, value=value)

    def delete(self, key: str) -> None:
        self._ask("delete", key=key)

    def get(self, key: str) -> str | None:
        value: str | None = self._ask("get", key=key)
        return value

    def scan(self, prefix: str) -> list[str]:
        """Return all keys with this prefix, in order."""
        keys: list[str] = self._ask("scan", prefix=prefix)
        return keys

    def failed(self) -> str | None:
        """Return why the node takes no writes, or None."""
        failed: str | None = self._ask("failed")
        return failed

    def break_disk(self, fault: Fault) -> None:
        self._ask("disk", fault=asdict(fault))

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _ask(self, do: str, **more: Any) -> Any:
        try:
            self._socket.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
            line = self._lines.readline()
        except TimeoutError:
            raise AssertionError(f"no answer to {do} {more} in {DEADLINE_S} s") from None
        except OSError as error:
            raise ProcessEnded(f"the node ended before it answered {do}: {error}") from error
        if not line.endswith("\n"):
            raise ProcessEnded(f"the node ended before it answered {do}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]
