"""For each rule the shortest schedule we know that goes wrong without it, once all have settled, and well with it.

All but two were found at random and cut down: `covered` was written by hand, `prefix` ends in a break of its own.
"""

from tests.rules.reference import Schedule

AIMED: dict[str, Schedule] = {
    # 1's clock is behind. It learns of the deletion through vectors only, since 2 has dropped the tombstone; what it
    # then writes again must be newer than the tombstone that 3 still has.
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
    # Two deletions, both dropped: each is stale for the other. What each has written, the other refuses for good as
    # doubtful, until it comes with a fresh stamp.
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
    # 1's tombstone is older than 2's value, which is older than 2's dropped tombstone. A 1 that kept its own would
    # have it instead of the gap that tells others of the deletion.
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
