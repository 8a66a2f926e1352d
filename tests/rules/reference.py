"""The rules of replication, in memory: exact, deterministic, driven by data.

A `RefWorld` holds nodes 1..n, whose numbers are their origins, and executes steps. A schedule is a list of them:

    ("skew", node, ms)                this node's wall clock is off by so much
    ("time", ms)                      the wall clock of the world goes on
    ("put", node, key)                the value is the number of the put in this world, as bytes: b"1", b"2", ...
    ("del", node, key)
    ("truncate", node, {origin: how}) "all": the floor comes up to the vector; "half": over the older half of
                                      what the log holds of this origin, rounded up
    ("drop", node, age_ms)            every tombstone goes that is covered by the vector and so old by the node's clock
    ("pull", id, reader, source)      a pull begins: its mode is decided, the source's state is kept as it is now
    ("step", id, count)               so many entries (log) or keys (reconcile) of it are judged; when nothing is left
                                      it ends, within the same step, and the reader takes over what it may
    ("break", id)                     it breaks off

Keys are bytes. A pull with nothing to read ends with its first step. A step that makes no sense (an unknown or
ended pull, a node that there is not, a reader that must wait) does nothing, so any part of a schedule is one.

Rules can be switched off, by name, to see what each is for (see RULES).
"""

from collections.abc import Collection, Iterable
from typing import Any

from tests.rules.node import START_MS, Line, RefNode, stale
from tests.rules.pulling import LogPull, ReconcilePull, RefPull
from tests.rules.truth import Truth

Step = tuple[Any, ...]
Schedule = list[Step]

RULES = {
    "clock": "a node's clock follows the vectors that it takes over",
    "stale": "a node that missed dropped tombstones is told from one that is current",
    "restamp": "a stale node writes again, under a fresh stamp, what may have been deleted behind it",
    "covered": "a reader does not take back what it knew and dropped",
    "horizon": "a node that was stale takes over the horizon of the peer that it came back by",
    "tombstone": "a stale node drops tombstones of its own that are older than those that it missed",
    "midway": "what was dropped here since a pull began counts in it",
    "alone": "while a stale node reconciles it has no other pull",
    "prefix": "a scan of the log that broke off moves no vector",
    "floor": "a reader below the floor of a log reconciles instead of reading it",
}

MOST_ROUNDS = 60
"""After so many rounds without rest a world is taken to be restless for ever."""


class RefWorld:
    """`nodes`: how many. `off`: names of rules that do not hold in this world.

    nodes    number → RefNode
    pulls    id → pull under way
    truth    what really happened
    """

    def __init__(self, nodes: int, off: Collection[str] = ()) -> None:
        unknown = set(off) - RULES.keys()
        if unknown:
            raise ValueError(f"there are no such rules: {sorted(unknown)}")
        self.off = frozenset(off)
        self.nodes = {number: RefNode(number) for number in range(1, nodes + 1)}
        self.pulls: dict[Any, RefPull] = {}
        self.truth = Truth(nodes)
        self.now_ms = START_MS
        self._puts = 0
        self._restless = False

    def run(self, schedule: Iterable[Step]) -> None:
        for step in schedule:
            self.execute(step)

    def execute(self, step: Step) -> None:
        """Raises ValueError for a step of an unknown kind."""
        match step:
            case ("time", int(ms)):
                self.now_ms += ms
            case ("pull", name, reader, source):
                self._begin(name, reader, source)
            case ("step", name, int(count)):
                self._advance(name, count)
            case ("break", name):
                self._break_off(name)
            case (("skew" | "put" | "del" | "truncate" | "drop") as what, number, argument):
                node = self.nodes.get(number)
                if node is not None:
                    self._on_node(node, what, argument)
            case _:
                raise ValueError(f"not a step: {step!r}")

    def _on_node(self, node: RefNode, what: str, argument: Any) -> None:
        match what:
            case "skew":
                node.skew_ms = argument
            case "put":
                self._puts += 1
                self._write(node, argument, b"%d" % self._puts)
            case "del":
                self._write(node, argument, None)
            case "truncate":
                node.truncate(self.cuts(node.number, argument))
            case "drop":
                node.drop_tombstones(argument)

    def _write(self, node: RefNode, key: bytes, value: bytes | None) -> None:
        stamp = node.write(key, value, self.now_ms)
        self.truth.wrote(node.number, key, value, (stamp, node.number))

    def cuts(self, number: int, how: dict[int, str]) -> dict[int, int]:
        """Origin → the stamp up to which a "truncate" of this node takes its log away now."""
        node = self.nodes[number]
        return {origin: node.cut(origin, part) for origin, part in how.items() if origin in node.vector}

    # -- pulls

    def _begin(self, name: Any, reader: int, source: int) -> None:
        if name in self.pulls or reader == source or not {reader, source} <= self.nodes.keys():
            return
        mode = self.mode(reader, source)
        if mode == "wait":
            return
        if mode == "rejoin" and "alone" not in self.off:
            for other in [other for other, pull in self.pulls.items() if pull.reader.number == reader]:
                self._break_off(other)
        kind = LogPull if mode == "log" else ReconcilePull
        self.pulls[name] = kind(self, self.nodes[reader], self.nodes[source], rejoin=mode == "rejoin")

    def mode(self, reader: int, source: int) -> str:
        """How `reader` would pull from `source` now: "wait" (not at all), "log", "reconcile", or "rejoin", which is to
        reconcile as one that missed tombstones."""
        p, s = self.nodes[reader], self.nodes[source]
        p_stale = "stale" not in self.off and stale(p.vector, s.horizon)
        s_stale = "stale" not in self.off and stale(s.vector, p.horizon)
        if s_stale and not p_stale:
            return "wait"
        if self._rejoining(reader):
            return "wait"
        if p_stale:
            return "rejoin"
        below = any(p.vector.get(origin, 0) < stamp for origin, stamp in s.floor.items())
        return "reconcile" if below and "floor" not in self.off else "log"

    def _rejoining(self, reader: int) -> bool:
        """Whether a pull is under way that forbids this node any other."""
        return "alone" not in self.off and any(
            pull.rejoin and pull.reader.number == reader for pull in self.pulls.values()
        )

    def _advance(self, name: Any, count: int) -> None:
        pull = self.pulls.get(name)
        if pull is not None and pull.advance(count):
            del self.pulls[name]

    def _break_off(self, name: Any) -> None:
        pull = self.pulls.pop(name, None)
        if pull is not None:
            pull.broke_off()

    # -- the end

    def settle(self) -> None:
        """What is under way breaks off; then every node pulls from every other, whole, until nothing changes."""
        for name in list(self.pulls):
            self._break_off(name)
        self.now_ms += 1
        for _ in range(MOST_ROUNDS):
            before = self.pictures()
            for reader in self.nodes:
                for source in self.nodes:
                    self._pull_whole(reader, source)
            if self.pictures() == before:
                return
        self._restless = True

    def _pull_whole(self, reader: int, source: int) -> None:
        name = ("settle", reader, source)
        self._begin(name, reader, source)
        while name in self.pulls:
            self._advance(name, 1)

    def check(self) -> str | None:
        """What is wrong with a world that has settled; None: it keeps what it promises."""
        if self._restless:
            return f"restless: something still changes after {MOST_ROUNDS} rounds"
        states = {number: node.values() for number, node in self.nodes.items()}
        first = self.nodes[1]
        if any(state != states[1] for state in states.values()):
            return f"diverged: {states}"
        return self.truth.fault({key: first.index[key][:2] for key in states[1]})

    def pictures(self) -> dict[int, dict[str, Any]]:
        """All of each node's state but its clock, to be compared."""
        return {number: node.picture() for number, node in self.nodes.items()}


def nodes_of(schedule: Iterable[Step]) -> int:
    """How many nodes a schedule needs: the highest number in it."""
    most = 1
    for step in schedule:
        match step:
            case ("pull", _, reader, source):
                most = max(most, reader, source)
            case (("skew" | "put" | "del" | "truncate" | "drop"), number, _):
                most = max(most, number)
    return most


def outcome(schedule: Schedule, off: Collection[str] = ()) -> str | None:
    """What is wrong after this schedule, once all have settled. None: nothing."""
    world = RefWorld(nodes_of(schedule), off)
    world.run(schedule)
    world.settle()
    return world.check()


__all__ = ["RULES", "Line", "RefNode", "RefWorld", "Schedule", "Step", "nodes_of", "outcome", "stale"]
