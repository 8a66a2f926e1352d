"""Whole contents of LevelDBs on disk, side by side."""

import contextlib
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import plyvel

SHOWN = 10

_Item = tuple[bytes, bytes]


@dataclass
class Contents:
    """`digest`: SHA-256 over all keys and values in order, each behind its length (u64, big-endian)."""

    keys: int = 0
    digest: str = ""


@dataclass
class Comparison:
    """Of several databases, in the order given. `differences` names the first few keys, one line each."""

    contents: list[Contents] = field(default_factory=list)
    differing: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return self.differing == 0 and len({contents.digest for contents in self.contents}) == 1


def compare(databases: Sequence[tuple[str, Path]]) -> Comparison:
    """Reads (name, path) databases to the end. Nobody may have them open. Raises plyvel.Error."""
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
