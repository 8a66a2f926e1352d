"""A workload with single-author keys: each node owns KEYS keys that no other node writes, beside keys that all write.

The order of the operations on a single-author key is known, so the final state of each such key is known as well: it is
the author's last acknowledged operation. An operation that was in flight when the author was killed may or may not have
taken effect.

An author works on few of its keys at a time and moves on to the next: if every key was written all the time, the next
write would repair a lost one before anybody looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.harness.workload import Operation

KEYS = 30
"""Single-author keys of each node."""
KEYS_AT_A_TIME = 5
OPERATIONS_BEFORE_NEXT = 20
"""Own operations after which the author leaves the oldest of the keys it works on, and takes the next."""
SHARED_KEYS = 60
DELETE_PROBABILITY = 0.4


def own_operation(seed: int, node: int, serial: int) -> Operation:
    """Return the operation number `serial` of `node` on its own keys. Each value occurs only once."""
    random = Random(f"own/{seed}/{node}/{serial}")
    number = (serial // OPERATIONS_BEFORE_NEXT + random.randrange(KEYS_AT_A_TIME)) % KEYS
    return _own_key(node, number), None if random.random() < DELETE_PROBABILITY else b"%d/%d" % (node, serial)


def _own_key(node: int, number: int) -> bytes:
    return b"author/%d/%02d" % (node, number)


def author_steps(seed: int, node: int, first: int) -> Iterator[tuple[int, list[Operation]]]:
    """Yield (serial, operations) without end. The own operation comes first, alone or in a batch with shared keys."""
    random = Random(f"shared/{seed}/{node}/{first}")
    serial = first
    while True:
        shared = [_shared_operation(random) for _ in range(random.choice((0, 0, 0, 3)))]
        yield serial, [*shared, own_operation(seed, node, serial)]
        yield serial, [_shared_operation(random)]
        serial += 1


def _shared_operation(random: Random) -> Operation:
    key = b"shared/%d" % random.randrange(SHARED_KEYS)
    return key, None if random.random() < DELETE_PROBABILITY else random.randbytes(random.choice((0, 1, 20, 300)))


@dataclass
class Author:
    """What one node has written to its own keys, over all its starts.

    Invariant: of the serials below `first`, exactly those in `in_flight` are not acknowledged.
    """

    seed: int
    node: int
    first: int = 0
    in_flight: set[int] = field(default_factory=set)

    def ended(self, acked: int, *, killed: bool) -> None:
        """Record the end of a period of writing; `acked` is its last acknowledged serial, or below `first` for none."""
        acked = max(acked, self.first - 1)
        if killed:
            self.in_flight.add(acked + 1)
        self.first = acked + 2 if killed else acked + 1

    def allowed(self) -> dict[bytes, list[bytes | None]]:
        """Return the values that each own key may end with: the acknowledged one first; None is absence."""
        allowed: dict[bytes, list[bytes | None]] = {_own_key(self.node, number): [None] for number in range(KEYS)}
        for serial in range(self.first):
            key, value = own_operation(self.seed, self.node, serial)
            if serial in self.in_flight:
                allowed[key].append(value)
            else:
                allowed[key] = [value]
        return allowed
