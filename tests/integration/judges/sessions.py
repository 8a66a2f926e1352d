"""Session checks: a session on one node reads its own writes, and never an older version than it has read before.

The order of versions has to be known, so each key has one author: one session, which writes ascending versions, a put
or a delete each. Version 0 is the key that was never written, and absent. For each session and key the check keeps the
oldest version that the session may still read. A read of a value names its version. A read of an absent key may be any
deletion that had begun when the read was complete; the check takes the oldest one that is allowed, which constrains
later reads least. So a violation is reported exactly if no assignment of versions explains all reads.

A write without acknowledgement may have taken effect or not, now or later. It does not have to be read, but once it was
read, nothing older may be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

ABSENT_FROM_THE_START = 0


@dataclass(frozen=True, slots=True)
class Write:
    """`acknowledged_s` is None when the result is unknown."""

    session: str
    node: int
    key: str
    version: int
    deleted: bool
    invoked_s: float
    acknowledged_s: float | None


@dataclass(frozen=True, slots=True)
class Get:
    """`version` is None when the key was absent."""

    session: str
    node: int
    key: str
    version: int | None
    invoked_s: float
    completed_s: float


class Rule(StrEnum):
    READ_YOUR_WRITES = "read your writes"
    MONOTONIC_READS = "monotonic reads"
    NO_PHANTOMS = "no phantoms"


@dataclass(frozen=True)
class Violation:
    rule: Rule
    get: Get
    oldest: int
    """The oldest version that the session was allowed to read."""

    def __str__(self) -> str:
        get = self.get
        read = "absence" if get.version is None else f"version {get.version}"
        return (
            f"{self.rule}: session {get.session} on node {get.node} read {read} of {get.key} at {get.invoked_s:.3f} s,"
            f" and version {self.oldest} or a later one that had begun was allowed"
        )


def check_sessions(writes: Iterable[Write], gets: Iterable[Get]) -> list[Violation]:
    """Judge a history. Raises ValueError when its sessions or versions have no order."""
    writes, gets = list(writes), list(gets)
    _check_nodes(writes, gets)
    versions_of: dict[str, list[Write]] = defaultdict(list)
    for write in sorted(writes, key=lambda write: write.invoked_s):
        versions_of[write.key].append(write)
    for of_key in versions_of.values():
        _check_author(of_key)
    events: list[Write | Get] = sorted([*writes, *gets], key=lambda event: event.invoked_s)
    oldest: dict[tuple[str, str], tuple[int, Rule]] = {}
    violations: list[Violation] = []
    for event in events:
        place = event.session, event.key
        bound, rule = oldest.get(place, (ABSENT_FROM_THE_START, Rule.MONOTONIC_READS))
        if isinstance(event, Write):
            if event.acknowledged_s is not None:
                oldest[place] = event.version, Rule.READ_YOUR_WRITES
            continue
        readable = _readable(event, versions_of[event.key])
        allowed = [version for version in readable if version >= bound]
        if not readable:
            violations.append(Violation(Rule.NO_PHANTOMS, event, bound))
        elif not allowed:
            violations.append(Violation(rule, event, bound))
        elif min(allowed) > bound:
            oldest[place] = min(allowed), Rule.MONOTONIC_READS
    return violations


def _readable(get: Get, of_key: list[Write]) -> list[int]:
    """Return the versions that `get` can be: of those that had begun, the one that it names, or all absent ones."""
    begun = [write for write in of_key if write.invoked_s <= get.completed_s]
    if get.version is None:
        return [ABSENT_FROM_THE_START, *(write.version for write in begun if write.deleted)]
    return [write.version for write in begun if write.version == get.version and not write.deleted]


def _check_nodes(writes: list[Write], gets: list[Get]) -> None:
    nodes: dict[str, int] = {}
    ends: dict[str, float] = {}
    events: list[Write | Get] = sorted([*writes, *gets], key=lambda event: event.invoked_s)
    for event in events:
        if nodes.setdefault(event.session, event.node) != event.node:
            raise ValueError(f"session {event.session} moved from node {nodes[event.session]}: {event}")
        end = event.completed_s if isinstance(event, Get) else event.acknowledged_s
        if event.invoked_s < ends.get(event.session, event.invoked_s):
            raise ValueError(f"session {event.session} did two things at a time: {event}")
        ends[event.session] = event.invoked_s if end is None else end


def _check_author(of_key: list[Write]) -> None:
    for before, write in pairwise(of_key):
        if write.session != before.session:
            raise ValueError(f"{write.key} has two authors: {before.session} and {write.session}")
    versions = [ABSENT_FROM_THE_START, *(write.version for write in of_key)]
    for earlier, later in pairwise(versions):
        if later <= earlier:
            raise ValueError(
                f"{of_key[0].key}: version {later} was written after version {earlier}, ascending is wanted"
            )
