"""A seeded random workload: puts, deletes and batches, on few keys and on many.

Each step also writes one key that no other node writes: once it is acknowledged, it must be there in the end."""

from collections.abc import Iterator
from random import Random

FEW, MANY = 8, 2_000
Operation = tuple[bytes, bytes | None]


def own_key(node: int, serial: int) -> bytes:
    return b"own/%d/%08d" % (node, serial)


def steps(seed: int, node: int, first: int) -> Iterator[tuple[int, list[Operation]]]:
    """Yield (serial, operations) without end. One operation is a put or a delete, several are a batch."""
    random = Random(f"{seed}/{node}/{first}")
    serial = first
    while True:
        yield (
            serial,
            [_operation(random) for _ in range(random.choice((0, 0, 0, 3, 12)))]
            + [(own_key(node, serial), b"%d" % serial)],
        )
        yield serial, [_operation(random)]
        serial += 1


def _operation(random: Random) -> Operation:
    key = b"shared/%d" % random.randrange(random.choice((FEW, MANY)))
    return key, None if random.random() < 0.3 else random.randbytes(random.choice((0, 1, 20, 300)))
