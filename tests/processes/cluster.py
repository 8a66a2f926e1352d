"""Masters as processes, their links through relays that can be cut, and writers that keep account."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

import plyvel

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry
from level_replicator.core.keys import INDEX, LOG, following, log_dot
from level_replicator.edges.demo.failures import DemoFailure
from level_replicator.edges.demo.ports import free_ports
from level_replicator.edges.demo.process import Master, MasterGone
from level_replicator.edges.demo.relay import Relay

DEADLINE_S = 60.0
Value = bytes | None

TOPOLOGIES: dict[str, list[tuple[int, int]]] = {
    "pair": [(0, 1)],
    "chain of 4": [(0, 1), (1, 2), (2, 3)],
    "ring of 4": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "star of 5": [(0, 1), (0, 2), (0, 3), (0, 4)],
    "mesh of 5": [(i, j) for i in range(5) for j in range(i + 1, 5)],
}


def eventually(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Waits until the condition holds, as nothing tells when it does; `what` says what is the case instead."""
    end = monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert monotonic() < end, what()
        pause.wait(0.02)


@dataclass
class Account:
    """What one node has written to its own keys: nobody else writes them, so the last word is known."""

    acknowledged: dict[bytes, Value] = field(default_factory=dict)
    pending: dict[bytes, Value] = field(default_factory=dict)
    contested: set[bytes] = field(default_factory=set)

    def done(self) -> None:
        self.acknowledged |= self.pending
        self.pending = {}


class Cluster:
    """`links` are pairs of nodes; the first dials, and in every third pair the second as well."""

    def __init__(self, root: Path, links: list[tuple[int, int]], seed: int) -> None:
        self.rng = Random(seed)
        self.relay = Relay()
        count = 1 + max(max(link) for link in links)
        ports = free_ports(count)
        servers: list[list[str]] = [[] for _ in range(count)]
        self.names = [f"{a}-{b}" for a, b in links]
        for number, (a, b) in enumerate(links):
            servers[a].append(f"127.0.0.1:{self.relay.open(f'{a}-{b}', ports[b])}")
            if number % 3 == 2:
                servers[b].append(f"127.0.0.1:{self.relay.open(f'{a}-{b}', ports[a])}")
        self.masters = [Master(f"node {i}", root / f"{i}", ports[i], servers[i]) for i in range(count)]
        self.accounts = [Account() for _ in range(count)]
        self.failures: list[BaseException] = []
        self._locks = [threading.Lock() for _ in range(count)]

    def start(self) -> None:
        for master in self.masters:
            master.start()

    def write_everywhere(self, rounds: int, few: bool) -> None:
        """All nodes write at once, puts, deletes and batches; while `disturb` kills, stops and cuts."""
        writers = [threading.Thread(target=self._write, args=(i, rounds, few)) for i in range(len(self.masters))]
        for writer in writers:
            writer.start()
        self._disturb(writers)
        for writer in writers:
            writer.join()
        for name in self.names:
            self.relay.heal(name)
        assert not self.failures, self.failures

    def _write(self, node: int, rounds: int, few: bool) -> None:
        rng, account, master = Random(node), self.accounts[node], self.masters[node]
        keys = [b"shared-%d" % i for i in range(3 if few else 300)]
        try:
            for number in range(rounds):
                contested = [(rng.choice(keys), rng.choice([None, b"%d/%d" % (node, number)])) for _ in range(3)]
                own = rng.randrange(20)
                value = rng.choice([None, b"%d" % number, b"%d" % number * 2_000])
                mine = [(b"own-%d-%d-a" % (node, own), value), (b"own-%d-%d-b" % (node, own), value)]
                account.pending = dict(mine)
                account.contested.update(key for key, _ in contested)
                with self._locks[node]:
                    try:
                        master.send([*contested, *mine], atomic=True)
                        master.await_answer()
                    except MasterGone:
                        master.kill()
                        master.start()
                        master.send([*contested, *mine], atomic=True)
                        master.await_answer()
                account.done()
        except BaseException as error:
            self.failures.append(error)

    def _disturb(self, writers: list[threading.Thread]) -> None:
        pause = threading.Event()
        while any(writer.is_alive() for writer in writers):
            pause.wait(0.05 + self.rng.random() / 4)
            what, node = self.rng.choice(["kill", "stop", "cut", "heal", "heal"]), self.rng.randrange(len(self.masters))
            if what == "kill":
                process = self.masters[node]._process
                if process is not None:
                    process.kill()  # in the middle of whatever it does; its writer starts it again
            elif what == "stop":
                with self._locks[node]:
                    try:
                        self.masters[node].stop()
                    except DemoFailure:  # it was killed just before
                        self.masters[node].kill()
                    self.masters[node].start()
            elif what == "cut":
                self.relay.cut(self.rng.choice(self.names))
            else:
                self.relay.heal(self.rng.choice(self.names))

    def settle(self) -> None:
        """Waits until all vectors are equal."""

        def level() -> bool:
            for master in self.masters:
                if not master._alive:  # killed after its last write
                    master.kill()
                    master.start()
            vectors = [master.status.vector if master.status else {} for master in self.masters]
            return all(vector == vectors[0] for vector in vectors)

        eventually(level, lambda: [(master.name, master.status) for master in self.masters])

    def stop(self) -> None:
        for master in self.masters:
            master.stop()
        self.relay.close()

    def check(self) -> None:
        """On disk, with nobody running: equal, sound, and each node's own keys as it last wrote them."""
        contents = [check_directory(master.directory) for master in self.masters]
        for other in contents[1:]:
            assert other == contents[0]
        for account in self.accounts:
            for key, value in account.acknowledged.items():
                assert contents[0].get(key) == value, (key, value)


def check_directory(directory: Path) -> dict[bytes, bytes]:
    """The contents of `db`, after comparing log, index and database of a replica that is closed."""
    db = plyvel.DB(str(directory / "db"))
    rs = plyvel.DB(str(directory / "rs"))
    try:
        contents = dict(db)
        lines = {key[1:]: line for key, line in rs.iterator(start=INDEX, stop=following(INDEX))}
        logged = {}
        for key, record in rs.iterator(start=LOG, stop=following(LOG)):
            entry = decode_entry(record)
            assert entry.key not in logged
            logged[entry.key] = log_dot(key)
            if entry.value is not None:
                assert contents[entry.key] == entry.value
        assert logged == {key: INDEX_HEAD.unpack_from(line)[:2] for key, line in lines.items()}
        live = {key for key, line in lines.items() if not INDEX_HEAD.unpack_from(line)[2] & DELETE}
        assert contents.keys() == live
        return contents
    finally:
        db.close()
        rs.close()
