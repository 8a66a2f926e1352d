"""For each rule the shortest schedule we know that goes wrong without it, once all have settled, and well with it.

Found at random and cut down, but for `covered`, which was written by hand.
"""

from tests.rules.reference import Schedule

AIMED: dict[str, Schedule] = {
    # 1's clock is behind, and only 2's vector tells it of the deletion, since 2 has dropped the tombstone. What 1 then
    # writes again must be newer than that tombstone, which 3 still has.
    "clock": [
        ("skew", 1, -1),
        ("put", 1, b"a"),
        ("del", 2, b"a"),
        ("pull", 1, 3, 2),
        ("drop", 2, 0),
        ("step", 1, 1),
    ],
    # 2 has the value; 1 has deleted it and dropped the tombstone: nothing in 1's log tells 2.
    "stale": [
        ("put", 1, b"a"),
        ("pull", 1, 2, 1),
        ("del", 1, b"a"),
        ("step", 1, 1),
        ("drop", 1, 0),
    ],
    # 1 comes back by 2, which has dropped a tombstone, and so drops its own: now each is stale for the other. What
    # each wrote is doubtful for the other for good, until it comes with a fresh stamp.
    "restamp": [
        ("put", 2, b"b"),
        ("put", 1, b"c"),
        ("del", 1, b"a"),
        ("del", 2, b"a"),
        ("drop", 2, 0),
    ],
    # 1 has dropped the tombstone that 2 still keeps, and must walk, being below 2's floor: the tombstone stays away.
    "covered": [
        ("del", 1, b"a"),
        ("pull", 1, 2, 1),
        ("step", 1, 1),
        ("drop", 1, 0),
        ("put", 2, b"b"),
        ("truncate", 2, {2: "all"}),
    ],
    # 2 has the value, 3 has dropped its tombstone. 1, that comes back by 3, must know for 2 that something is gone.
    "horizon": [
        ("put", 3, b"a"),
        ("pull", 1, 2, 3),
        ("step", 1, 1),
        ("del", 3, b"a"),
        ("drop", 3, 0),
    ],
    # 1's tombstone is older than 2's value, and that than the tombstone that 2 has dropped. Kept, and shown to 3, it
    # would lose to the value that 3 still has; that it is gone tells 3 that the value was deleted.
    "tombstone": [
        ("put", 2, b"d"),
        ("del", 1, b"d"),
        ("pull", 1, 3, 2),
        ("step", 1, 1),
        ("del", 2, b"d"),
        ("drop", 2, 0),
    ],
    # While the first pull is under way 2 gets the value by another one, deletes it, and drops the tombstone.
    "midway": [
        ("put", 1, b"d"),
        ("pull", 1, 2, 1),
        ("pull", 2, 2, 1),
        ("step", 2, 1),
        ("del", 2, b"d"),
        ("drop", 2, 0),
        ("step", 1, 1),
    ],
    # While 2 walks beside 3, which has dropped the tombstone of a, it gets a from 1, behind the walk.
    "alone": [
        ("put", 3, b"b"),
        ("put", 3, b"a"),
        ("pull", 1, 1, 3),
        ("step", 1, 1),
        ("put", 3, b"d"),
        ("del", 3, b"a"),
        ("drop", 3, 0),
        ("pull", 2, 2, 3),
        ("step", 2, 1),
        ("pull", 3, 2, 1),
        ("step", 3, 1),
        ("step", 2, 1),
    ],
    # Nothing was read, yet the vector says that it was.
    "prefix": [
        ("put", 1, b"a"),
        ("pull", 1, 2, 1),
        ("break", 1),
    ],
    # What 2 wrote is in its index only.
    "floor": [
        ("put", 2, b"a"),
        ("truncate", 2, {2: "all"}),
    ],
}
