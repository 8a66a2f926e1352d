"""A workload with single-author keys: each node owns KEYS keys that no other node writes, beside keys that all write.

The order of the operations on a single-author key is known, so the final state of each such key is known as well: it is
the author's last acknowledged operation. An operation that was in flight when the author was killed may or may not have
taken effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.cluster.workload import Operation

KEYS = 30
"""Single-author keys of each node."""
SHARED_KEYS = 60
DELETE_PROBABILITY = 0.4
OWN_PREFIX = b"author/"


def own_operation(seed: int, node: int, serial: int) -> Operation:
    """Return the operation number `serial` of `node` on its own keys. Each value occurs only once."""
    random = Random(f"own/{seed}/{node}/{serial}")
    key = OWN_PREFIX + b"%d/%02d" % (node, random.randrange(KEYS))
    return key, None if random.random() < DELETE_PROBABILITY else b"%d/%d" % (node, serial)


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
        allowed: dict[bytes, list[bytes | None]] = {
            OWN_PREFIX + b"%d/%02d" % (self.node, number): [None] for number in range(KEYS)
        }
        for serial in range(self.first):
            key, value = own_operation(self.seed, self.node, serial)
            if serial in self.in_flight:
                allowed[key].append(value)
            else:
                allowed[key] = [value]
        return allowed
