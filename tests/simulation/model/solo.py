"""The reference alone, on the schedules of the model: a thousand times faster than with the real stores beside it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.simulation.model.reference import Node, Pull, Truth, broken_promise, introduce
from tests.simulation.model.schedules import Step

START_MS = 1_000
MOST_ROUNDS = 60


class Solo:
    """`off`: a rule that is switched off."""

    def __init__(self, nodes: int, off: str | None = None) -> None:
        self.now_ms = START_MS
        self.off = off
        self.skew_ms: dict[int, int] = {}
        self.truth = Truth()
        self.nodes = [Node(place, self.truth, off) for place in range(nodes)]
        self.images: dict[int, Node] = {}
        self.pulls: dict[int, tuple[int, Pull, Iterator[None]]] = {}
        self.alone: dict[int, int] = {}
        self.gone: set[int] = set()

    @property
    def left(self) -> list[int]:
        return [place for place in range(len(self.nodes)) if place not in self.gone]

    def play(self, steps: list[Step]) -> None:
        for step in steps:
            getattr(self, f"_do_{step[0]}")(*step[1:])

    def settle(self, *, shuffled: bool = True) -> bool:
        """Everybody pulls from everybody until nothing changes. Returns False if there is no end to it."""
        for pull in list(self.pulls):
            self._do_break(pull)
        self.now_ms += 1
        pairs = [(a, b) for a in self.left for b in self.left if a != b]
        rng = Random(len(self.truth.ops))
        for _ in range(MOST_ROUNDS):
            before = [self._state(self.nodes[place]) for place in self.left]
            if shuffled:
                rng.shuffle(pairs)
            for reader, source in pairs:
                self._do_pull(-1, reader, source)
                self._do_step(-1, 1_000_000)
            if before == [self._state(self.nodes[place]) for place in self.left]:
                return True
        return False

    @staticmethod
    def _state(node: Node) -> object:
        rows = {key: (row.dot, row.written, row.value) for key, row in node.index.items()}
        return rows, dict(node.vector), dict(node.horizon), dict(node.histories), dict(node.branches), node.origin

    def _at(self, place: int) -> Node:
        node = self.nodes[place]
        node.now_ms = self.now_ms + self.skew_ms.get(place, 0)
        return node

    # -- steps

    def _do_gone(self, place: int) -> None:
        self.gone.add(place)

    def _do_time(self, ms: int) -> None:
        self.now_ms += ms

    def _do_skew(self, place: int, ms: int) -> None:
        self.skew_ms[place] = ms

    def _do_put(self, place: int, key: bytes) -> None:
        self._at(place).write(key, b"v%d" % len(self.truth.ops))

    def _do_del(self, place: int, key: bytes) -> None:
        self._at(place).write(key, None)

    def _do_image(self, place: int) -> None:
        self.images[place] = self.nodes[place].image()

    def _do_restore(self, place: int) -> None:
        if place in self.images:
            self._break_all(self.nodes[place])
            self.nodes[place] = self.images[place].image()
            self.nodes[place].reopen()

    def _break_all(self, node: Node) -> None:
        for number, (_, pull, _) in list(self.pulls.items()):
            if node in (pull.reader, pull.source):
                self._do_break(number)

    def _introduce(self, one: Node, other: Node) -> None:
        for node in introduce(one, other):
            self._break_all(node)

    def _do_truncate(self, place: int, age_ms: int) -> None:
        self.nodes[place].truncate(max(0, self.now_ms - age_ms) << 16)

    def _do_drop(self, place: int, age_ms: int) -> None:
        self.nodes[place].drop_tombstones(max(0, self.now_ms - age_ms) << 16)

    def _do_pull(self, pull: int, reader: int, source: int) -> None:
        if pull in self.pulls or reader in self.alone:
            return
        self._introduce(self.nodes[reader], self.nodes[source])
        begun = Pull(self._at(reader), self.nodes[source])
        if begun.mode == "wait":
            return
        if begun.alone:
            for other in [other for other, (place, _, _) in self.pulls.items() if place == reader]:
                self._do_break(other)
            self.alone[reader] = pull
        self.pulls[pull] = (reader, begun, begun.messages())

    def _do_step(self, pull: int, count: int) -> None:
        if pull not in self.pulls:
            return
        place, under_way, messages = self.pulls[pull]
        self._introduce(under_way.reader, under_way.source)
        if pull not in self.pulls:
            return
        self._at(place)
        for _ in range(count):
            if next(messages, messages) is messages:
                self._do_break(pull)
                return

    def _do_break(self, pull: int) -> None:
        if pull in self.pulls:
            self.pulls.pop(pull)[1].end()
            self.alone = {place: alone for place, alone in self.alone.items() if alone != pull}


def play_solo(nodes: int, steps: list[Step], off: str | None = None, *, shuffled: bool = True) -> str | None:
    """Return the promise that is broken in the end, if any."""
    solo = Solo(nodes, off)
    solo.play(steps)
    if not solo.settle(shuffled=shuffled):
        return "no end: the nodes go on changing"
    return broken_promise([solo.nodes[place] for place in solo.left], solo.truth)
