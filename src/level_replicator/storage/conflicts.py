"""Two writes of a key of which neither had seen the other. The greater dot stays, everywhere the same; a program may
want to know of the one that goes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Version:
    """One write of a key. `value` None: a delete. `origin`: 16 hexadecimal digits; `time_ms`: since 1970, its clock."""

    value: bytes | None
    origin: str
    stamp: int

    @property
    def time_ms(self) -> int:
        return self.stamp >> 16


@dataclass(frozen=True, slots=True)
class Conflict:
    """Told on the node where the two meet."""

    key: bytes
    winner: Version
    loser: Version
