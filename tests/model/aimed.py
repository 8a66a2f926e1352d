"""For each rule the shortest schedule we know that shows it: without the rule it goes wrong once all have settled.

Found at random and cut down, but for `covered`, which was written by hand. Nodes are 0, 1 and 2. `ALL` drops or
truncates everything there is; `END` brings a pull to its end.
"""

from __future__ import annotations

from tests.model.schedules import Step

ALL = -1_000
END = 100

AIMED: dict[str, list[Step]] = {
    # 0's clock is behind, and only 1's vector tells it of the deletion, since 1 has dropped the tombstone. What 0 then
    # writes again must be newer than that tombstone, which 2 still has.
    "clock": [
        ("skew", 0, -1),
        ("put", 0, b"a"),
        ("del", 1, b"a"),
        ("pull", 1, 2, 1),
        ("drop", 1, ALL),
        ("step", 1, END),
    ],
    # 1 has the value; 0 has deleted it and dropped the tombstone: nothing in 0's log tells 1.
    "stale": [
        ("put", 0, b"a"),
        ("pull", 1, 1, 0),
        ("del", 0, b"a"),
        ("step", 1, END),
        ("drop", 0, ALL),
    ],
    # 0 comes back by 1, which has dropped a tombstone, and so drops its own: now each is stale for the other. What
    # each wrote is doubtful for the other for good, until it comes with a fresh stamp.
    "restamp": [
        ("put", 1, b"b"),
        ("put", 0, b"c"),
        ("del", 0, b"a"),
        ("del", 1, b"a"),
        ("drop", 1, ALL),
    ],
    # 0 has dropped the tombstone that 1 still keeps, and must walk, being below 1's floor: the tombstone stays away.
    # (We know of no schedule where this rule alone saves a key: doubt catches those that we tried.)
    "covered": [
        ("del", 2, b"a"),
        ("pull", 1, 0, 2),
        ("step", 1, END),
        ("pull", 2, 1, 0),
        ("step", 2, END),
        ("drop", 0, ALL),
        ("put", 1, b"b"),
        ("truncate", 1, ALL),
    ],
    # 1 has the value, 2 has dropped its tombstone. 0, that comes back by 2, must know for 1 that something is gone.
    "horizon": [
        ("put", 2, b"a"),
        ("pull", 1, 1, 2),
        ("step", 1, END),
        ("del", 2, b"a"),
        ("drop", 2, ALL),
    ],
    # 0's tombstone is older than 1's value, and that than the tombstone that 1 has dropped. Kept, and shown to 2, it
    # would lose to the value that 2 still has; that it is gone tells 2 that the value was deleted.
    "tombstone": [
        ("put", 1, b"d"),
        ("del", 0, b"d"),
        ("pull", 1, 2, 1),
        ("step", 1, END),
        ("del", 1, b"d"),
        ("drop", 1, ALL),
    ],
    # While the first pull is under way 1 gets the value by another one, deletes it, and drops the tombstone.
    "midway": [
        ("put", 0, b"d"),
        ("pull", 1, 1, 0),
        ("pull", 2, 1, 0),
        ("step", 2, END),
        ("del", 1, b"d"),
        ("drop", 1, ALL),
        ("step", 1, END),
    ],
    # While 1, which knows something, so that it is not filled, walks beside 2, which has dropped the tombstone of a, it
    # gets a from 0, behind the walk.
    "alone": [
        ("put", 2, b"z"),
        ("pull", 4, 1, 2),
        ("step", 4, END),
        ("put", 2, b"b"),
        ("put", 2, b"a"),
        ("pull", 1, 0, 2),
        ("step", 1, END),
        ("put", 2, b"d"),
        ("del", 2, b"a"),
        ("drop", 2, ALL),
        ("pull", 2, 1, 2),
        ("step", 2, 2),
        ("pull", 3, 1, 0),
        ("step", 3, END),
        ("step", 2, END),
    ],
    # What 1 wrote is in its index only.
    "floor": [
        ("put", 1, b"a"),
        ("truncate", 1, ALL),
    ],
}

MUTANTS = {
    "clock": "clock-ignores-vectors",
    "stale": "stale-read-as-current",
    "restamp": "unseen-writes-keep-their-stamps",
    "covered": "absent-keys-accept-anything",
    "horizon": "horizon-not-taken-over",
    "tombstone": "tombstones-of-the-stale-stay",
    "midway": "doubt-not-looked-at-again",
    "floor": "log-read-below-the-floor",
}
"""Rule → its mutant in the real code. (`alone` is a rule of the hub: tests/sim has its schedule.)"""
