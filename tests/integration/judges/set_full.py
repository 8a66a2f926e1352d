"""A set-full checker, after Jepsen's `checker/set-full`: does everybody read every acknowledged element in the end?

Elements are added once and never removed; each node is asked for all elements again and again. An element is *known*
from the moment when its add was acknowledged, or when the first read that has it was complete. The reads that count are
those that have it, and those that began after that moment:

- stable: on every node all of them have it;
- stale: some lack it, but on every node the last one has it. It became stable when the last read that lacks it began.
  This is how an eventually consistent store behaves;
- lost: on some node the last one lacks it;
- never read: on some node there is none, so nothing is proved. A history ends with a read on every node.

Jepsen looks at one sequence of reads, of all nodes together, and would not see that an element is missing on every node
but the last. Here each node is judged alone, and the worst verdict counts. Besides, three things are never right:

- flickered: a node has it in one read and lacks it in a read that began after that one was complete;
- phantom: a read has what nobody had begun to add when the read was complete;
- duplicated: one read has it twice.

An add without acknowledgement may have taken effect or not, now or later; once it is read it is known like any other.
Adding an element again after an unknown result is the same element.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

Element = str
SHOWN = 10
"""Elements that a report shows of each kind."""


@dataclass(frozen=True, slots=True)
class Add:
    """`acknowledged_s` is None when the result is unknown: the node died, or answered with an error."""

    node: int
    element: Element
    invoked_s: float
    acknowledged_s: float | None


@dataclass(frozen=True, slots=True)
class Read:
    """All elements that `node` had at some moment between `invoked_s` and `completed_s`, in the order it gave them."""

    node: int
    invoked_s: float
    completed_s: float
    elements: Sequence[Element]


@dataclass
class SetReport:
    """`stable_after_s`: element → seconds from when it was known until it was stable, for stable and stale ones."""

    attempted: int = 0
    acknowledged: int = 0
    stable: list[Element] = field(default_factory=list)
    stale: list[Element] = field(default_factory=list)
    lost: list[Element] = field(default_factory=list)
    never_read: list[Element] = field(default_factory=list)
    flickered: list[Element] = field(default_factory=list)
    phantom: list[Element] = field(default_factory=list)
    duplicated: list[Element] = field(default_factory=list)
    stable_after_s: dict[Element, float] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.never_read or self.flickered or self.phantom or self.duplicated)

    @property
    def median_s(self) -> float:
        return median(self.stable_after_s.values()) if self.stable_after_s else 0.0

    @property
    def max_s(self) -> float:
        return max(self.stable_after_s.values(), default=0.0)

    def __str__(self) -> str:
        kinds = ("stable", "stale", "lost", "never_read", "flickered", "phantom", "duplicated")
        counts = ", ".join(f"{len(getattr(self, kind))} {kind.replace('_', ' ')}" for kind in kinds)
        latency = f"stable after {self.median_s:.3f} s (median), {self.max_s:.3f} s (max)"
        lines = [f"{self.acknowledged} of {self.attempted} elements acknowledged: {counts}; {latency}"]
        lines += [f"{kind}: {shown}" for kind in kinds[2:] if (shown := getattr(self, kind)[:SHOWN])]
        return "\n    ".join(lines)


def check_set(adds: Iterable[Add], reads: Iterable[Read]) -> SetReport:
    """Judge a history. Raises ValueError when it is no history: an end before its begin."""
    report = SetReport()
    begun: dict[Element, float] = {}
    known: dict[Element, float] = {}
    for add in adds:
        if add.acknowledged_s is not None and add.acknowledged_s < add.invoked_s:
            raise ValueError(f"{add} was acknowledged before it was invoked")
        begun[add.element] = min(add.invoked_s, begun.get(add.element, add.invoked_s))
        if add.acknowledged_s is not None:
            known[add.element] = min(add.acknowledged_s, known.get(add.element, add.acknowledged_s))
    report.attempted = len(begun)
    report.acknowledged = len(known)
    reads_of: dict[int, list[tuple[Read, set[Element]]]] = defaultdict(list)
    phantom: set[Element] = set()
    duplicated: set[Element] = set()
    for read in sorted(reads, key=lambda read: read.invoked_s):
        if read.completed_s < read.invoked_s:
            raise ValueError(f"a read on node {read.node} was complete before it was invoked: {read}")
        present = set(read.elements)
        reads_of[read.node].append((read, present))
        if len(present) < len(read.elements):
            duplicated |= {element for element in present if read.elements.count(element) > 1}
        for element in present:
            if element not in begun or begun[element] > read.completed_s:
                phantom.add(element)
            elif known.get(element, read.completed_s) >= read.completed_s:
                known[element] = read.completed_s
    latency: dict[Element, float] = dict.fromkeys(known, 0.0)
    lost: set[Element] = set()
    unread: set[Element] = set()
    flickered: set[Element] = set()
    for of_node in reads_of.values():
        flickered |= _flickered(of_node)
        lost_here, unread_here, last_absent = _ends(of_node, known)
        lost |= lost_here
        unread |= unread_here
        for element, absent_s in last_absent.items():
            latency[element] = max(latency[element], absent_s - known[element])
    if not reads_of:
        unread = set(known)
    report.lost = sorted(lost)
    report.never_read = sorted(unread - lost)
    report.stable_after_s = {element: s for element, s in latency.items() if element not in lost | unread}
    report.stable = sorted(element for element, s in report.stable_after_s.items() if s == 0.0)
    report.stale = sorted(element for element, s in report.stable_after_s.items() if s > 0.0)
    report.flickered, report.phantom, report.duplicated = sorted(flickered), sorted(phantom), sorted(duplicated)
    return report


def _ends(
    reads: list[tuple[Read, set[Element]]], known: dict[Element, float]
) -> tuple[set[Element], set[Element], dict[Element, float]]:
    """Return what is lost on this node, what no read counts for, and when the last read that lacks an element began.

    Goes backwards, and looks at an element no more once its last absence is found, or the reads began too early."""
    lost: set[Element] = set()
    unread: set[Element] = set()
    last_absent: dict[Element, float] = {}
    seen = set[Element]().union(*(present for _, present in reads))
    by_known = sorted(known, key=known.__getitem__)
    open_: set[Element] = set(by_known)  # known before the read at hand began, and present in all later reads
    position = len(by_known)
    for number, (read, present) in enumerate(reversed(reads)):
        while position and known[by_known[position - 1]] >= read.invoked_s:
            position -= 1
            element = by_known[position]
            open_.discard(element)
            if number == 0 and element not in seen:
                unread.add(element)
        absent = open_ - present
        for element in absent:
            last_absent[element] = read.invoked_s
        if number == 0:
            lost = absent
        open_ -= absent
        if not open_:
            break
    return lost, unread, last_absent


def _flickered(reads: list[tuple[Read, set[Element]]]) -> set[Element]:
    flickered: set[Element] = set()
    seen: dict[Element, float] = {}  # when the first read that has it was complete
    for read, present in reads:
        flickered |= {element for element in seen.keys() - present if seen[element] < read.invoked_s}
        for element in present:
            if seen.get(element, read.completed_s) >= read.completed_s:
                seen[element] = read.completed_s
    return flickered
