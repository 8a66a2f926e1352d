"""Schedules as plain data, so that they can be run on the reference, on the real code, and cut down.

("time", ms)            the clock of the world goes on
("skew", n, ms)         the clock of node n is ahead by so much
("put", n, key), ("del", n, key)
("truncate", n, ms)     the log of node n, up to that long ago
("drop", n, ms)         tombstones of node n that are that old
("pull", id, p, s)      p begins to pull from s
("step", id, count)     it goes on by so many messages
("break", id)           it breaks off
("image", n)            node n is copied as it is at this moment
("restore", n)          and goes back to that copy, without noticing
("gone", n)             node n never comes back: what only it knew is not asked for in the end
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

Step = tuple[Any, ...]


def random_schedule(seed: int) -> tuple[int, list[Step]]:
    """(number of nodes, steps)."""
    rng = Random(seed)
    nodes = rng.randint(2, 5)
    keys = [b"%c" % letter for letter in b"abcdef"[: rng.randint(1, 6)]]
    steps: list[Step] = []
    open_pulls: list[int] = []
    islands: list[bool] | None = None
    steps.extend(("skew", node, rng.randint(0, 60)) for node in range(nodes))
    for number in range(rng.randint(10, 150)):
        if rng.random() < 0.7:
            steps.append(("time", rng.randint(1, 3)))
        node, what = rng.randrange(nodes), rng.random()
        if what < 0.33:
            steps.append(("put", node, rng.choice(keys)))
        elif what < 0.48:
            steps.append(("del", node, rng.choice(keys)))
        elif what < 0.53:
            steps.append(("truncate", node, rng.choice([-1_000, 0, 5, 20])))
        elif what < 0.60:
            steps.append(("drop", node, rng.choice([-1_000, 0, 10, 30])))
        elif what < 0.64:
            islands = None if islands else [rng.random() < 0.5 for _ in range(nodes)]
        else:
            other = rng.randrange(nodes)
            if other != node and not (islands and islands[node] != islands[other]):
                steps.append(("pull", number, node, other))
                open_pulls.append(number)
        for pull in open_pulls[:]:
            if rng.random() < 0.06:
                steps.append(("break", pull))
                open_pulls.remove(pull)
            else:
                count = rng.choice([0, 1, 2, 100])
                if count:
                    steps.append(("step", pull, count))
                if count == 100:
                    open_pulls.remove(pull)
    if nodes > 2 and rng.random() < 0.3:
        steps.append(("gone", rng.randrange(nodes)))
    if seed % 4 == 3:
        own = Random(seed * 4 + 1)  # so that all else stays as it was
        for _ in range(own.randint(1, 4)):
            node = own.randrange(nodes)
            first, second = sorted(own.randrange(len(steps) + 1) for _ in range(2))
            steps.insert(second, ("restore", node))
            steps.insert(first, ("image", node))
    return nodes, steps


def minimise(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Leaves out what it can while the schedule still fails."""
    size = max(1, len(steps) // 2)
    while True:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if fails(shorter):
                steps = shorter
            else:
                at += size
        if size == 1:
            return steps
        size = max(1, size // 2)
