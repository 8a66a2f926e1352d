"""A node in a process that accepts sessions.

It obeys requests as tests.harness.child does. In addition any number of sessions can connect to a loopback port, whose
number is the answer to `sessions`. Each session has a thread, which answers one request after another, a line of JSON
each way; tests/integration/judges/session.py has the requests. Answers go through sockets, which no disk fault affects.

The configuration may have `lies`: this node then lies once in so many requests (tests/integration/judges/liar.py);
and `mutant`: a rule of tests/simulation/mutants.py that is switched off.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import plyvel

import level_replicator as lrep
from tests.harness.child import Child
from tests.integration.judges import disk
from tests.integration.judges.liar import Liar
from tests.simulation.mutants import mutant


class JudgedChild(Child):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._switched_off = contextlib.ExitStack()
        self._asked: Any = None  # the node, or a liar in front of it

    def open_replica(self, config: dict[str, Any]) -> lrep.Replica:
        rule, lies = config.pop("mutant", None), config.pop("lies", 0)
        if rule:
            self._switched_off.enter_context(mutant(rule))
        replica = super().open_replica(config)
        self._asked = Liar(replica, lies) if lies else replica
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        return replica

    def do_sessions(self) -> int:
        """Return the port that sessions connect to."""
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), name="session", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), connection, connection.makefile("r") as lines:
            for line in lines:
                connection.sendall(json.dumps(self._session_answer(json.loads(line))).encode() + b"\n")

    def _session_answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": self._in_session(request)}
        except (lrep.ReplicationError, plyvel.Error) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _in_session(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "name":
                return self.folder.name
            case "put":
                self._asked.put(request["key"].encode(), request["value"].encode())
            case "delete":
                self._asked.delete(request["key"].encode())
            case "get":
                value = self._asked.get(request["key"].encode())
                return None if value is None else value.decode()
            case "scan":
                return [
                    key.decode() for key in self._asked.iterator(prefix=request["prefix"].encode(), include_value=False)
                ]
            case "failed":
                return self.replica.status()["failed"]
            case "disk":
                disk.fail(disk.Fault(**request["fault"]))
        return None
