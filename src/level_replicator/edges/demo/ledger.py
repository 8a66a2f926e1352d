"""What anybody wrote to each key, so that the end can be held against more than itself.

Three equal databases could be equally wrong. What a key holds in the end must be what somebody wrote to
it; a key that was written once and never deleted must hold exactly that.
"""

import hashlib
import threading
from collections.abc import Iterable

from level_replicator.edges.demo.exchange import Operation

DIGEST_BYTES = 16
SHOWN = 10


class Ledger:
    """Digests of values, of every write that was sent to a master. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[bytes, set[bytes | None]] = {}

    def note(self, operations: Iterable[Operation]) -> None:
        """To be called before they are sent: a write whose answer never came may have happened."""
        with self._lock:
            for key, value in operations:
                self._written.setdefault(key, set()).add(None if value is None else _digest(value))

    def objections(self, contents: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """What cannot be so in a database: keys lost, keys or values that nobody wrote. The first few."""
        found: list[str] = []
        present: set[bytes] = set()
        for key, value in contents:
            present.add(key)
            if key not in self._written:
                found.append(f"{key!r}: nobody wrote this key")
            elif _digest(value) not in self._written[key]:
                found.append(f"{key!r}: nobody wrote this value of {len(value)} bytes")
        for key, values in self._written.items():
            if key not in present and None not in values:
                found.append(f"{key!r}: lost; it was written and never deleted")
        return _first(found)


def _first(found: list[str]) -> list[str]:
    return found[:SHOWN] + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=DIGEST_BYTES).digest()
