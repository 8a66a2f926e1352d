"""A replica that breaks its promises, which the judges must detect on real processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any


class Liar:
    """Once in `every` calls of each kind it forgets a put, returns the first value that it ever returned for a key, and
    leaves out the first key of a scan."""

    def __init__(self, replica: Any, every: int) -> None:
        self._replica = replica
        self._every = every
        self._puts, self._gets, self._scans = itertools.count(1), itertools.count(1), itertools.count(1)
        self._first: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        if next(self._puts) % self._every:
            self._replica.put(key, value)

    def delete(self, key: bytes) -> None:
        self._replica.delete(key)

    def get(self, key: bytes) -> bytes | None:
        value = self._replica.get(key)
        first = self._first.setdefault(key, value)
        return value if next(self._gets) % self._every else first

    def iterator(self, **options: Any) -> Iterable[bytes]:
        keys = list(self._replica.iterator(**options))
        return keys if next(self._scans) % self._every else keys[1:]
