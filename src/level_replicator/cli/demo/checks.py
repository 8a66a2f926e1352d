"""Checks of the demo: whether the nodes are in sync, and whether their LevelDBs are the same.

Nodes report their version vectors, which show the changes that they lack. After they are stopped, all contents of
their LevelDBs are compared with each other. Three equal databases could be equally wrong, so they are also checked
against a ledger of all writes: a key must hold a value that was written to it, and a key that was written once and
never deleted must hold exactly that value.
"""

import contextlib
import hashlib
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from level_replicator.cli.demo.node import DemoNode, Status
from level_replicator.leveldb import plyvel
from level_replicator.testing.node_program import Operation


def behind(node: DemoNode, others: Sequence[DemoNode]) -> int:
    """Return how many entries this node lacks, by the last reports: the most that any other node says."""
    if node.status is None:
        return 0
    known = [
        peer.behind or 0
        for other in others
        if other is not node and other.status is not None
        for peer in other.status.peers
        if peer.origin == node.status.origin
    ]
    return max(known, default=0)


def out_of_sync(nodes: Sequence[DemoNode]) -> list[str]:
    """Return the differences, a line each: links that are not live, and vectors or key counts that are not equal."""
    lines = [f"{node.name} has not reported" for node in nodes if node.status is None]
    if lines:
        return lines
    newest: dict[str, int] = {}
    for node in nodes:
        for origin, stamp in _status(node).vector.items():
            newest[origin] = max(stamp, newest.get(origin, 0))
    names = {_status(node).origin: node.name for node in nodes}
    for node in nodes:
        lines += _lacks(node, newest, names)
        lines += _links(node, names)
    if len({_status(node).keys for node in nodes}) > 1:
        lines.append("keys: " + ", ".join(f"{node.name} {_status(node).keys:,}" for node in nodes))
    return lines


def _lacks(node: DemoNode, newest: dict[str, int], names: dict[str, str]) -> list[str]:
    vector = _status(node).vector
    lacking = [origin for origin, stamp in newest.items() if vector.get(origin, 0) < stamp]
    return [f"{node.name} lacks changes of {names.get(origin, origin)}" for origin in lacking]


def _links(node: DemoNode, names: dict[str, str]) -> list[str]:
    lines = []
    for origin, name in names.items():
        if name == node.name:
            continue
        peer = next((peer for peer in _status(node).peers if peer.origin == origin), None)
        if peer is None:
            lines.append(f"{node.name} has not met {name}")
        elif peer.state != "live":
            lines.append(f"{node.name} and {name}: {peer.state}, {peer.last_error or 'no error'}")
    return lines


def _status(node: DemoNode) -> Status:
    assert node.status is not None
    return node.status


DIGEST_BYTES = 16


class Ledger:
    """Digests of the values of all writes that were sent to nodes. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[bytes, set[bytes | None]] = {}

    def note(self, operations: Iterable[Operation]) -> None:
        """Record operations before they are sent: a write whose answer never came may have happened."""
        with self._lock:
            for key, value in operations:
                self._written.setdefault(key, set()).add(None if value is None else _digest(value))

    def objections(self, contents: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """Return the first few errors in the contents of a database, a line each.

        An error is a lost key, or a key or a value that was never written."""
        found: list[str] = []
        present: set[bytes] = set()
        for key, value in contents:
            present.add(key)
            if key not in self._written:
                found.append(f"{key!r}: this key was never written")
            elif _digest(value) not in self._written[key]:
                found.append(f"{key!r}: this value of {len(value)} bytes was never written")
        for key, values in self._written.items():
            if key not in present and None not in values:
                found.append(f"{key!r}: lost; it was written and never deleted")
        return _first(found)


def _first(found: list[str]) -> list[str]:
    return found[:SHOWN] + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=DIGEST_BYTES).digest()


SHOWN = 10

_Item = tuple[bytes, bytes]


@dataclass
class Contents:
    """The contents of one database. `digest`: SHA-256 over all keys and values in order, each after its length (u64,
    big-endian)."""

    keys: int = 0
    digest: str = ""


@dataclass
class Comparison:
    """The result of comparing several databases. `differences` names the first few keys that differ, one line each."""

    contents: list[Contents] = field(default_factory=list)
    differing: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return self.differing == 0 and len({contents.digest for contents in self.contents}) == 1


def compare(databases: Sequence[tuple[str, Path]]) -> Comparison:
    """Compare (name, path) databases, which no process may have open. Raises plyvel.Error."""
    result = Comparison()
    with contextlib.ExitStack() as stack:
        readers = []
        for _, path in databases:
            db = stack.enter_context(contextlib.closing(plyvel.DB(str(path))))
            readers.append(stack.enter_context(db.iterator()))
        hashes = [hashlib.sha256() for _ in databases]
        counts = [0] * len(databases)
        items: list[_Item | None] = [next(reader, None) for reader in readers]
        while any(item is not None for item in items):
            lowest = min(item[0] for item in items if item is not None)
            values = [item[1] if item is not None and item[0] == lowest else None for item in items]
            if len(set(values)) > 1:
                result.differing += 1
                if len(result.differences) < SHOWN:
                    result.differences.append(_difference(lowest, [name for name, _ in databases], values))
            for index, value in enumerate(values):
                if value is not None:
                    counts[index] += 1
                    for part in (lowest, value):
                        hashes[index].update(struct.pack(">Q", len(part)))
                        hashes[index].update(part)
                    items[index] = next(readers[index], None)
        result.contents = [Contents(count, digest.hexdigest()) for count, digest in zip(counts, hashes, strict=True)]
    return result


def _difference(key: bytes, names: list[str], values: Sequence[bytes | None]) -> str:
    return f"{key!r}: " + ", ".join(f"{name} has {_short(value)}" for name, value in zip(names, values, strict=True))


def _short(value: bytes | None) -> str:
    if value is None:
        return "nothing"
    return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:12]}"
