"""Bytes as a row of choices, so that a fuzzer which changes a byte changes a choice."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads the input from its beginning. When nothing is left every choice is the first, and `left` says so."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._data) - self._at

    def byte(self) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def flag(self) -> bool:
        return bool(self.byte() & 1)

    def below(self, bound: int) -> int:
        return self.byte() % bound

    def pick(self, of: Sequence[T]) -> T:
        return of[self.byte() % len(of)]

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def take(self, count: int) -> bytes:
        """As many of that many bytes as there are."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def piece(self) -> bytes:
        """Up to 255 bytes, after a byte that says how many."""
        return self.take(self.byte())

    def block(self) -> bytes:
        """Up to 65,535 bytes, after two bytes that say how many."""
        return self.take(int.from_bytes(self.take(2), "big"))

    def rest(self) -> bytes:
        return self.take(self.left)
