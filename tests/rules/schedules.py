"""Random schedules from a seed, and the shortest part of a schedule that still does what it did."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.rules.reference import Schedule, Step, nodes_of

_AGES_MS = (0, 0, 10, 30)
_HOW_MUCH = ("all", "half")
_A_LOT = 100
"""More entries than a schedule has keys."""


@dataclass(slots=True)
class _Maker:
    """Of one schedule. `islands`: the side of a partition that each node is on. `pulls`: those that may go on."""

    random: Random
    nodes: int
    keys: list[bytes]
    steps: Schedule = field(default_factory=list)
    islands: list[bool] | None = None
    pulls: dict[int, tuple[int, int]] = field(default_factory=dict)
    begun: int = 0

    def skews(self) -> None:
        for node in range(1, self.nodes + 1):
            self.steps.append(("skew", node, self.random.randint(-30, 30)))

    def turn(self) -> None:
        """Something new, and some of what is under way goes on."""
        passed_ms = self.random.randint(0, 3)
        if passed_ms:
            self.steps.append(("time", passed_ms))
        self._something(self.random.random(), self.random.randint(1, self.nodes))
        self._go_on()

    def _something(self, what: float, node: int) -> None:
        if what < 0.33:
            self.steps.append(("put", node, self.random.choice(self.keys)))
        elif what < 0.48:
            self.steps.append(("del", node, self.random.choice(self.keys)))
        elif what < 0.53:
            cuts = {origin: self.random.choice(_HOW_MUCH) for origin in range(1, self.nodes + 1)}
            self.steps.append(("truncate", node, cuts))
        elif what < 0.58:
            self.steps.append(("drop", node, self.random.choice(_AGES_MS)))
        elif what < 0.63:
            self.islands = None if self.islands else [self.random.random() < 0.5 for _ in range(self.nodes)]
        else:
            self._pull(node, self.random.randint(1, self.nodes))

    def _apart(self, one: int, other: int) -> bool:
        return self.islands is not None and self.islands[one - 1] != self.islands[other - 1]

    def _pull(self, reader: int, source: int) -> None:
        if reader == source or self._apart(reader, source):
            return
        self.begun += 1
        self.pulls[self.begun] = (reader, source)
        self.steps.append(("pull", self.begun, reader, source))

    def _go_on(self) -> None:
        for name, (reader, source) in list(self.pulls.items()):
            if self._apart(reader, source) or self.random.random() < 0.05:
                self.steps.append(("break", name))
                del self.pulls[name]
                continue
            count = self.random.choice((0, 1, 2, _A_LOT))
            if count:
                self.steps.append(("step", name, count))
            if count == _A_LOT:
                del self.pulls[name]


def random_schedule(seed: int) -> Schedule:
    """Puts, deletes, truncations, dropped tombstones, clocks that are wrong, partitions, and pulls that overlap with
    all of these; of 2 to 5 nodes, 1 to 6 keys, 10 to 150 turns."""
    random = Random(seed)
    nodes = random.randint(2, 5)
    keys = [b"%c" % letter for letter in b"abcdef"[: random.randint(1, 6)]]
    maker = _Maker(random, nodes, keys)
    maker.skews()
    for _ in range(random.randint(10, 150)):
        maker.turn()
    return maker.steps


# -- making them small

Fails = Callable[[Schedule], bool]


def minimise(schedule: Schedule, fails: Fails) -> Schedule:
    """A schedule that still fails, from which no step can be left out nor made simpler. ValueError if this one does not
    fail to begin with."""
    if not fails(schedule):
        raise ValueError("this schedule does not fail")
    while True:
        smaller = _simplified(_without_pairs(_shortened(schedule, fails), fails), fails)
        if smaller == schedule:
            return schedule
        schedule = smaller


def _shortened(schedule: Schedule, fails: Fails) -> Schedule:
    """Leaves out runs of steps: half of all at first, single ones in the end."""
    size = max(len(schedule) // 2, 1)
    while True:
        at, found = 0, False
        while at < len(schedule):
            shorter = schedule[:at] + schedule[at + size :]
            if fails(shorter):
                schedule, found = shorter, True
            else:
                at += size
        if size == 1 and not found:
            return schedule
        size = max(size // 2, 1)


def _without_pairs(schedule: Schedule, fails: Fails) -> Schedule:
    """Leaves out two steps at once that are apart."""
    for first in range(len(schedule)):
        for second in range(first + 2, len(schedule)):
            shorter = [step for place, step in enumerate(schedule) if place not in (first, second)]
            if fails(shorter):
                return shorter
    return schedule


def _simplified(schedule: Schedule, fails: Fails) -> Schedule:
    """Renumbers pulls and nodes, and makes single steps simpler."""
    for candidate in (_named_in_order(schedule), *_with_fewer_nodes(schedule)):
        if candidate != schedule and fails(candidate):
            schedule = candidate
            break
    for place in range(len(schedule)):
        for simpler in _simpler(schedule[place]):
            candidate = [*schedule[:place], simpler, *schedule[place + 1 :]]
            if fails(candidate):
                schedule = candidate
                break
    return schedule


def _simpler(step: Step) -> Iterator[Step]:
    match step:
        case ("truncate", node, how):
            for origin in sorted(how):
                yield ("truncate", node, {o: part for o, part in how.items() if o != origin})
            for origin in sorted(o for o, part in how.items() if part == "half"):
                yield ("truncate", node, {**how, origin: "all"})
        case ("time" as what, ms) if ms > 1:
            yield (what, 1)
            yield (what, ms - 1)
        case ("skew", node, ms) if abs(ms) > 1:
            yield ("skew", node, ms // abs(ms))
            yield ("skew", node, ms - ms // abs(ms))
        case ("drop", node, age_ms) if age_ms:
            yield ("drop", node, 0)
        case ("step", name, count) if count > 1:
            yield ("step", name, 1)
            yield ("step", name, count - 1)
        case (("put" | "del") as what, node, key) if key > b"a":
            yield (what, node, b"a")


def _named_in_order(schedule: Schedule) -> Schedule:
    names: dict[Any, int] = {}
    for step in schedule:
        if step[0] == "pull":
            names.setdefault(step[1], len(names) + 1)
    return [
        (step[0], names.get(step[1], step[1]), *step[2:]) if step[0] in ("pull", "step", "break") else step
        for step in schedule
    ]


def _with_fewer_nodes(schedule: Schedule) -> Iterator[Schedule]:
    """Without each node that does nothing: those above move one down."""
    used = {node for step in schedule for node in _nodes_in(step)}
    for gap in range(nodes_of(schedule), 0, -1):
        if gap not in used:
            yield [_moved_down(step, gap) for step in schedule]


def _nodes_in(step: Step) -> tuple[int, ...]:
    match step:
        case ("pull", _, reader, source):
            return (reader, source)
        case (("skew" | "put" | "del" | "drop" | "truncate"), node, _):
            return (node,)
    return ()


def _moved_down(step: Step, gap: int) -> Step:
    def moved(node: int) -> int:
        return node - 1 if node > gap else node

    match step:
        case ("pull", name, reader, source):
            return ("pull", name, moved(reader), moved(source))
        case ("truncate", node, how):
            return ("truncate", moved(node), {moved(o): part for o, part in how.items() if o != gap})
        case (("skew" | "put" | "del" | "drop") as what, node, argument):
            return (what, moved(node), argument)
    return step
