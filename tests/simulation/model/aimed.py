"""For each rule a short schedule that shows it: without the rule it goes wrong once all have settled.

Found at random and cut down, but for `context`, `silent` and `alone`, which were written by hand. Nodes are 0, 1 and 2.
`ALL` drops or truncates everything there is; `END` brings a pull to its end.
"""

from __future__ import annotations

from tests.simulation.model.reference import OLD_FAULT
from tests.simulation.model.schedules import Step

ALL = -1_000
END = 100

DEAD_THERE: list[Step] = [
    ("put", 2, b"a"),
    ("pull", 1, 0, 2),
    ("step", 1, END),
    ("del", 2, b"a"),
    ("drop", 2, ALL),
    ("del", 1, b"b"),
    ("drop", 1, ALL),
    ("pull", 2, 0, 1),
    ("step", 2, END),
    ("pull", 3, 0, 2),
    ("step", 3, END),
    ("gone", 2),
]

AIMED: dict[str, list[Step]] = {
    # 1's clock is ahead. 2 hears of its delete by 1's vector only, since 1 drops the tombstone: what 2 re-stamps must
    # have a greater dot than that.
    "clock": [
        ("skew", 1, 50),
        ("del", 1, b"a"),
        ("put", 0, b"a"),
        ("pull", 14, 2, 1),
        ("step", 14, END),
        ("drop", 1, ALL),
    ],
    # 0 has the value and deletes it, and drops the tombstone: nothing in 0's log tells 1, which wrote it.
    "stale": [
        ("put", 1, b"b"),
        ("pull", 17, 0, 1),
        ("step", 17, END),
        ("del", 0, b"b"),
        ("drop", 0, ALL),
    ],
    # 0 has dropped the tombstone of a delete that is concurrent with 1's put: under its old dot the put would be
    # doubtful for 0 for ever.
    "restamp": [
        ("put", 1, b"b"),
        ("del", 2, b"b"),
        ("pull", 19, 0, 2),
        ("step", 19, END),
        ("drop", 0, ALL),
    ],
    # 0 and 1 have each deleted and forgotten a key, so each is stale for the other. Of what both wrote since then the
    # winners are doubtful for the other side for ever, under their old dots.
    "both": [
        ("put", 1, b"a"),
        ("del", 1, b"c"),
        ("drop", 1, ALL),
        ("put", 0, b"b"),
        ("put", 0, b"a"),
        ("put", 1, b"b"),
        ("del", 0, b"c"),
        ("drop", 0, ALL),
    ],
    # 2's delete is greater than 1's put, and 0 has forgotten it. The put travels again, under a new dot, and meets the
    # tombstone: 0 learns of that only if it gets a greater dot too.
    "redot": [
        ("put", 1, b"b"),
        ("del", 2, b"b"),
        ("pull", 19, 0, 2),
        ("step", 19, END),
        ("drop", 0, ALL),
    ],
    # 0's write of a comes to 2 by 1, whose scan of 0 broke off. 2 deletes a, and must not forget that while its vector
    # does not cover the write, which comes once more from 0.
    "context": [
        ("put", 0, b"b"),
        ("put", 0, b"a"),
        ("pull", 1, 1, 0),
        ("step", 1, 1),
        ("break", 1),
        ("pull", 2, 2, 1),
        ("step", 2, END),
        ("del", 2, b"a"),
        ("drop", 2, ALL),
    ],
    # 1 has deleted and forgotten its write of a, which is greater than 0's, and 2 has it. 2 and 1 are stale for each
    # other, so 2 re-stamps it; when it comes to 1 again, 1 must know that it is dead.
    "dead": [
        ("skew", 1, 5),
        ("put", 1, b"a"),
        ("put", 0, b"a"),
        ("pull", 5, 2, 1),
        ("step", 5, END),
        ("del", 2, b"b"),
        ("drop", 2, ALL),
        ("del", 1, b"a"),
        ("drop", 1, ALL),
    ],
    # 1 has dropped the tombstone of b, and 0 rejoins by 1: only by 1's horizon does 0 know that 2 missed something.
    "horizon": [
        ("put", 2, b"b"),
        ("put", 0, b"a"),
        ("pull", 20, 1, 2),
        ("step", 20, END),
        ("del", 1, b"b"),
        ("drop", 1, ALL),
    ],
    # 3 has the delete of 1; 1 and 2 have forgotten theirs. The put of 2 is later than these, and comes under its old
    # dot to 1, which has nothing, and by it to the others, which have a row.
    "present": [
        ("skew", 1, 50),
        ("del", 2, b"a"),
        ("drop", 2, ALL),
        ("del", 1, b"a"),
        ("del", 0, b"a"),
        ("pull", 17, 3, 1),
        ("step", 17, END),
        ("put", 2, b"a"),
        ("drop", 1, ALL),
    ],
    # While 1 pulls from 0, it drops a tombstone that is greater than what comes.
    "midway": [
        ("del", 1, b"a"),
        ("pull", 2, 2, 1),
        ("step", 2, 2),
        ("put", 0, b"a"),
        ("pull", 4, 1, 0),
        ("drop", 1, ALL),
        ("step", 4, END),
    ],
    # The scan breaks off before its first entry.
    "prefix": [
        ("put", 2, b"b"),
        ("pull", 8, 0, 2),
    ],
    # What 2 wrote is in its index only.
    "floor": [
        ("put", 2, b"a"),
        ("truncate", 2, ALL),
    ],
    # 1 has deleted and forgotten a. 0's put, which is older than 2's, is re-stamped: as a new write it would win.
    OLD_FAULT: [
        ("put", 0, b"a"),
        ("del", 1, b"a"),
        ("drop", 1, ALL),
        ("put", 2, b"a"),
    ],
    # 2 has deleted a and forgotten it. 0, which has the value, learns from 1 that it missed some delete, and re-stamps
    # it. Then it reconciles with 2, whose vector covers the write, but not the new dot, and which never pulls from 0.
    "dead-there": DEAD_THERE,
    # 0 goes back to before its second write, which 1 has, and does not notice. 2 learns of it by what 0 writes then.
    "fork": [
        ("put", 0, b"a"),
        ("image", 0),
        ("time", 1),
        ("put", 0, b"b"),
        ("pull", 1, 1, 0),
        ("step", 1, END),
        ("restore", 0),
        ("time", 1),
        ("put", 0, b"c"),
        ("pull", 2, 2, 0),
        ("step", 2, END),
    ],
    # The same, and 1 knows no epoch of 0: only how far its vector goes shows that it has something else.
    "reach": [
        ("put", 0, b"a"),
        ("image", 0),
        ("time", 1),
        ("put", 0, b"b"),
        ("pull", 1, 1, 0),
        ("step", 1, END),
        ("restore", 0),
        ("time", 1),
        ("put", 0, b"c"),
    ],
    # 0 and 1 have the value. 2 has deleted it and dropped the tombstone. 0 begins to reconcile with 2, removes the key,
    # and breaks off; 2 never comes back. Without a tombstone 0 has nothing to say of it, since it covers the write.
    "silent": [
        ("put", 2, b"a"),
        ("pull", 1, 0, 2),
        ("step", 1, END),
        ("pull", 2, 1, 2),
        ("step", 2, END),
        ("put", 2, b"b"),
        ("del", 2, b"a"),
        ("drop", 2, ALL),
        ("pull", 3, 0, 2),
        ("step", 3, 2),
        ("break", 3),
        ("gone", 2),
    ],
    # While 1, which knows something, so that no bulk load begins, reconciles with 2, which has dropped the tombstone of
    # a, it gets a from 0, behind the reconciliation.
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
}

NODES_OF = {"present": 4}
"""How many nodes a schedule has, if not three."""

NOT_SHOWN = {"covered"}
"""Rules of which we know no schedule that needs them alone: in all that were tried (some millions) burying dead writes
saved it. This one spares traffic: tombstones, and values that are fetched to be buried."""

MUTANTS = {
    "clock": "clock-ignores-vectors",
    "stale": "stale-read-as-current",
    "restamp": "unseen-writes-keep-their-dots",
    "both": "winners-of-the-stale-keep-their-dots",
    "redot": "dots-against-the-order",
    "context": "tombstones-dropped-too-early",
    "dead": "dead-writes-taken",
    "dead-there": "dead-for-the-peer-kept",
    "silent": "removed-without-a-trace",
    "covered": "absent-keys-accept-anything",
    "horizon": "horizon-not-taken-over",
    "midway": "doubt-not-looked-at-again",
    "present": "doubt-only-for-absent-keys",
    "floor": "log-read-below-the-floor",
    "fork": "histories-not-compared",
    "reach": "histories-compared-without-what-is-there",
    OLD_FAULT: "restamped-as-new-writes",
}
"""Rule → its mutant in the real code. `alone` and `prefix` are rules of coordinator and session, with mutants in
tests/simulation."""
