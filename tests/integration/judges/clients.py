"""Clients of one node, each a thread with a session, which record their operations in one history.

Times are of this process's monotonic clock, so a history has one clock whatever the nodes' clocks say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from level_replicator.testing.process import ProcessEnded
from tests.integration.judges.node import Node
from tests.integration.judges.session import Refused, Session
from tests.integration.judges.sessions import Get, Write
from tests.integration.judges.set_full import Add, Read

SET = "set/"
OWN_KEYS = 4
"""Keys of each session that it alone writes."""
ADD_PACE_S = 0.012
READ_PACE_S = 0.1
SESSION_PACE_S = 0.012
RETRY_S = 0.02
RETRY_PROBABILITY = 0.5
"""With which an add of an unknown result is tried again."""


@dataclass
class History:
    """What all clients did. `refusals`: (node, when) a write was answered with an error."""

    adds: list[Add] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    gets: list[Get] = field(default_factory=list)
    refusals: list[tuple[int, float]] = field(default_factory=list)


class Client:
    """Works from `start` to `join`, in a new session whenever the node had died. `join` raises what ended it early."""

    pace_s = 0.0

    def __init__(self, number: int, node: Node, history: History) -> None:
        self.number = number
        self.node = node
        self.history = history
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__} {number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._ending.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """End without a look at errors; the node is dead."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()

    def step(self, session: Session) -> None:
        """Do the next thing, and write it down. Raises ProcessEnded; Refused if a read was."""
        raise NotImplementedError

    def last(self, session: Session) -> None:
        """Read once more, after everything. Raises ProcessEnded and Refused."""
        raise NotImplementedError

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                try:
                    session = self.node.session()
                except ProcessEnded:
                    self._ending.wait(RETRY_S)
                    continue
                try:
                    self._work(session)
                except ProcessEnded:
                    pass
                finally:
                    session.close()
        except BaseException as error:  # for the test that joins
            self._error = error

    def _work(self, session: Session) -> None:
        while not self._ending.is_set():
            self.step(session)
            self._ending.wait(self.pace_s)

    def _write(self, write: Callable[[], None], record: Callable[[float, float | None], None]) -> None:
        """Do a write and record when it was invoked and, if it was, acknowledged. Raises ProcessEnded, after that."""
        invoked_s = time.monotonic()
        acknowledged_s: float | None = None
        try:
            write()
            acknowledged_s = time.monotonic()
        except Refused:
            self.history.refusals.append((self.number, time.monotonic()))
        finally:
            record(invoked_s, acknowledged_s)


class Adder(Client):
    """Adds elements to the set."""

    pace_s = ADD_PACE_S

    def __init__(self, number: int, node: Node, history: History, seed: int) -> None:
        super().__init__(number, node, history)
        self._random = Random(f"adder/{seed}/{number}")
        self._serial = 0

    def step(self, session: Session) -> None:
        self._write(lambda: session.put(SET + self._element, "x" * self._random.choice((0, 10, 300))), self._record)

    def last(self, session: Session) -> None:
        """A set is read by its reader."""

    @property
    def _element(self) -> str:
        return f"{self.number}/{self._serial}"

    def _record(self, invoked_s: float, acknowledged_s: float | None) -> None:
        self.history.adds.append(Add(self.number, self._element, invoked_s, acknowledged_s))
        if acknowledged_s is not None or self._random.random() >= RETRY_PROBABILITY:
            self._serial += 1


class Reader(Client):
    """Reads the whole set."""

    pace_s = READ_PACE_S

    def step(self, session: Session) -> None:
        invoked_s = time.monotonic()
        elements = [key.removeprefix(SET) for key in session.scan(SET)]
        self.history.reads.append(Read(self.number, invoked_s, time.monotonic(), elements))

    def last(self, session: Session) -> None:
        self.step(session)


class Visitor(Client):
    """Writes its own keys, and reads them and those of the visitors of all nodes."""

    pace_s = SESSION_PACE_S

    def __init__(self, number: int, node: Node, history: History, seed: int, nodes: int) -> None:
        super().__init__(number, node, history)
        self._random = Random(f"visitor/{seed}/{number}")
        self._nodes = nodes
        self._version = 0
        self._name = f"visitor {number}"

    def step(self, session: Session) -> None:
        own = self._key(self.number)
        kind = self._random.choice(("put", "put", "delete", "read own", "read own", "read", "read", "read"))
        if kind in ("put", "delete"):
            self._version += 1
            version, deleted = self._version, kind == "delete"

            def record(invoked_s: float, acknowledged_s: float | None) -> None:
                write = Write(self._name, self.number, own, version, deleted, invoked_s, acknowledged_s)
                self.history.writes.append(write)

            write = (lambda: session.delete(own)) if deleted else (lambda: session.put(own, str(version)))
            self._write(write, record)
        else:
            self._get(session, own if kind == "read own" else self._key(self._random.randrange(self._nodes)))

    def last(self, session: Session) -> None:
        for number in range(self._nodes):
            for key in range(OWN_KEYS):
                self._get(session, f"own/{number}/{key}")

    def _key(self, number: int) -> str:
        return f"own/{number}/{self._random.randrange(OWN_KEYS)}"

    def _get(self, session: Session, key: str) -> None:
        invoked_s = time.monotonic()
        value = session.get(key)
        version = None if value is None else int(value)
        self.history.gets.append(Get(self._name, self.number, key, version, invoked_s, time.monotonic()))
