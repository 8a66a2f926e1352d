"""A replica in a process that takes sessions.

It obeys stdin as tests.harness.child does. Besides, any number of sessions connect to a loopback port, whose number is
the answer to {"do": "sessions"}. Each gets a thread, which does one request after another, a line of JSON each way;
tests/integration/judges/session.py has the requests. Answers go through sockets, which no disk fault makes fail.

The configuration may have `lies`: this replica then lies once in so many requests (tests/integration/judges/liar.py);
and `mutant`: a rule of tests/simulation/mutants.py that is switched off.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import level_replicator as lrep
from level_replicator import plyvel
from tests.harness import patience
from tests.harness.child import Child
from tests.integration.judges import disk
from tests.integration.judges.liar import Liar
from tests.simulation.mutants import mutant


class JudgedChild(Child):
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._name = folder.name
        lies = config.pop("lies", 0)
        super().__init__(folder, config)
        self._asked: Any = Liar(self._replica, lies) if lies else self._replica
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "sessions":
            self.say({"port": self._listener.getsockname()[1]})
        else:
            super().obey(order)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), name="session", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), connection, connection.makefile("r") as lines:
            for line in lines:
                connection.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"answer": self._do(request)}
        except (lrep.ReplicationError, plyvel.Error) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _do(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "name":
                return self._name
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
                return self._replica.status()["failed"]
            case "disk":
                disk.fail(disk.Fault(**request["fault"]))
        return None


def serve() -> None:
    patience.defaults()["cap_s"] = patience.CAP_S
    config = json.loads(sys.argv[2])
    rule = config.pop("mutant", None)
    with mutant(rule) if rule else contextlib.nullcontext():
        child = JudgedChild(Path(sys.argv[1]), config)
        for line in sys.stdin:
            child.obey(json.loads(line))
