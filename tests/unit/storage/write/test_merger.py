"""What becomes of an entry that meets a row, a forgotten delete, or a kill; and that it is bounded work."""

from __future__ import annotations

import pytest

from level_replicator.core.entry import IndexRow, decode_entry, decode_index, encode_context, encode_dot, encode_entry
from level_replicator.protocol.events import EntriesReceived
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.store import Store
from level_replicator.storage.write import restamps
from level_replicator.storage.write.remote_applier import Applied
from tests.unit.storage.rig import START_MS, Died, Rig, assert_sound, contents

PEER, AUTHOR, OTHER = 7, 8, 9
NOW = START_MS << 16


def at(number: int) -> int:
    """A stamp; all of these are older than what a store writes."""
    return NOW - 1_000 + number


def entry(
    stamp: int,
    value: bytes | None = b"theirs",
    *,
    key: bytes = b"k",
    written: tuple[int, int] | None = None,
    context: dict[int, int] | None = None,
) -> bytes:
    dot = b"" if written is None else encode_dot(*written)
    return encode_entry(stamp, key, value, encode_context(context or {}), dot)[0]


def apply(
    store: Store,
    *records: bytes,
    origin: int = PEER,
    adopt: dict[int, int] | None = None,
    knows: dict[int, int] | None = None,
) -> Applied:
    entries = [decode_entry(record) for record in records]
    stamps = [each.stamp for each in entries]
    frame = EntriesReceived(origin, min(stamps) - 1, max(stamps), entries, max(stamps), adopt)
    return store.apply(frame, PEER, knows if knows is not None else {PEER: 1 << 63})


def row(store: Store, key: bytes = b"k") -> IndexRow:
    line = store._state.rs.get(INDEX + key)
    assert line is not None
    return decode_index(line)


def test_a_restamped_entry_that_is_an_older_write_loses_and_ours_travels_again() -> None:
    """Its dot is greater than ours: a node that has forgotten ours may know only that one."""
    store = Rig().open()
    apply(store, entry(at(5), b"later"), adopt={PEER: at(5)})
    applied = apply(store, entry(at(9), b"earlier", written=(at(4), AUTHOR)), origin=OTHER)
    assert contents(store) == {b"k": b"later"}
    assert applied.restamped == 1
    assert row(store).origin == store.origin
    assert row(store).written_dot == (at(5), PEER)
    assert row(store).stamp > at(9)
    assert_sound(store)


def test_a_restamped_entry_that_is_the_later_write_wins_over_a_greater_dot() -> None:
    store = Rig().open()
    apply(store, entry(at(9), b"earlier", written=(at(3), AUTHOR)), adopt={PEER: at(9)})
    applied = apply(store, entry(at(5), b"later"), origin=OTHER)
    assert contents(store) == {b"k": b"later"}
    assert applied.restamped == 1
    assert row(store).written_dot == (at(5), OTHER)
    assert row(store).stamp > at(9)
    assert not applied.news  # the entry itself is not in the log: ours is in its place
    assert_sound(store)


def test_two_copies_of_one_write_come_to_the_greatest_dot() -> None:
    store = Rig().open()
    apply(store, entry(at(5), written=(at(3), AUTHOR)))
    applied = apply(store, entry(at(6), written=(at(3), AUTHOR)), origin=OTHER)
    assert (applied.restamped, row(store).dot) == (0, (at(6), OTHER))
    assert apply(store, entry(at(5), written=(at(3), AUTHOR))).restamped == 0
    assert row(store).dot == (at(6), OTHER)
    assert store.conflicts == 0
    assert_sound(store)


def test_a_buried_copy_of_a_write_wins_over_its_put() -> None:
    store = Rig().open()
    apply(store, entry(at(9), written=(at(3), AUTHOR)))
    apply(store, entry(at(5), None, written=(at(3), AUTHOR)), origin=OTHER)
    assert contents(store) == {}
    assert row(store).deleted
    assert row(store).stamp > at(9)
    assert_sound(store)


@pytest.mark.parametrize("standing", [None, b"older"])
def test_a_write_that_a_forgotten_delete_had_superseded_is_buried(standing: bytes | None) -> None:
    store = Rig().open()
    if standing is not None:
        apply(store, entry(at(1), standing, context={PEER: at(0)}), origin=OTHER, adopt={OTHER: at(1)})
    store.adopt_vector({AUTHOR: at(5)}, PEER)  # it covers the write, and there is nothing of it
    applied = apply(store, entry(at(9), written=(at(4), AUTHOR), context={PEER: at(2)}))
    assert contents(store) == {}
    assert applied.restamped == 1
    tombstone = row(store)
    assert tombstone.deleted
    assert tombstone.written_dot == (at(4), AUTHOR)
    assert tombstone.origin == store.origin
    assert (OTHER in dict.fromkeys(_origins(tombstone))) is (standing is not None)
    assert store._state.restamped_tombstones == 1
    assert_sound(store)


def _origins(line: IndexRow) -> list[int]:
    return [int.from_bytes(line.context[place : place + 8], "big") for place in range(0, len(line.context), 16)]


def test_a_tombstone_is_taken_though_the_vector_covers_it() -> None:
    store = Rig().open()
    store.adopt_vector({AUTHOR: at(5)}, PEER)
    apply(store, entry(at(4), None), origin=AUTHOR)
    assert row(store).deleted


def test_our_own_forgotten_delete_is_not_taken_again() -> None:
    store = Rig().open()
    store.writer.put(b"other", b"v", False)
    mine = store.vector[store.origin]
    apply(store, entry(mine, None), origin=store.origin)
    assert store._state.rs.get(INDEX + b"k") is None


def test_a_doubtful_put_is_left_out_also_over_a_row() -> None:
    store = Rig().open()
    apply(store, entry(at(1), b"standing"), origin=OTHER, adopt={OTHER: at(1)})
    store.writer.delete(b"gone", False)
    store.retention.drop_tombstones(store.clock.last)
    applied = apply(store, entry(at(5)), adopt={PEER: at(5)}, knows={})
    assert not applied.whole
    assert contents(store) == {b"k": b"standing"}
    assert PEER not in store.vector
    assert apply(store, entry(at(5), None), adopt={PEER: at(5)}, knows={}).whole  # a tombstone is never doubtful
    assert contents(store) == {}


def test_restamping_is_done_in_batches_of_bounded_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame of small losers makes many large winners travel again; its vector comes with the last batch only."""
    monkeypatch.setattr(restamps, "REPAIR_BATCH_BYTES", 2_500)
    store = Rig().open()
    keys = [b"%02d" % number for number in range(10)]
    apply(store, *(entry(at(10 + place), bytes(1_000), key=key) for place, key in enumerate(keys)))
    steps: list[tuple[str, int, int]] = []
    state = store._state
    state.on_step = lambda name: steps.append((name, state.vector.get(store.origin, 0), state.vector.get(PEER, 0)))
    losers = [entry(at(30 + place), b"", key=key, written=(at(1), AUTHOR)) for place, key in enumerate(keys)]
    applied = apply(store, *losers, origin=OTHER, adopt={PEER: at(19), OTHER: at(39)})
    batches = [(ours, theirs) for name, ours, theirs in steps if name == "apply: after db"]
    assert len(batches) == 4
    assert all(theirs == 0 for _, theirs in batches)
    assert (applied.restamped, applied.whole) == (10, True)
    assert store.vector[PEER] == at(19)
    assert contents(store) == {key: bytes(1_000) for key in keys}
    assert_sound(store)


@pytest.mark.parametrize("step", ["apply: before rs", "apply: between rs and db", "apply: after db"])
def test_a_kill_leaves_all_of_a_batch_or_nothing(step: str) -> None:
    """The vector never covers an entry whose re-stamped winner was lost."""
    rig = Rig()
    store = rig.open()
    apply(store, entry(at(9), b"earlier", written=(at(3), AUTHOR)), adopt={PEER: at(9)})
    rig.die_at = step
    with pytest.raises(Died):
        apply(store, entry(at(5), b"later"), origin=OTHER, adopt={OTHER: at(5)})
    store = rig.reopen_after_kill()
    taken = step != "apply: before rs"
    assert contents(store) == {b"k": b"later" if taken else b"earlier"}
    assert (OTHER in store.vector) is taken
    assert (row(store).origin == store.origin) is taken
    assert_sound(store)


def test_a_damaged_value_is_not_restamped() -> None:
    """The pull is not whole, so the peer's vector is not adopted; verify reports the value."""
    store = Rig().open()
    apply(store, entry(at(5), b"later"))
    store._state.db.put(b"k", b"damaged")
    applied = apply(store, entry(at(9), b"earlier", written=(at(4), AUTHOR)), origin=OTHER, adopt={OTHER: at(9)})
    assert not applied.whole
    assert OTHER not in store.vector
    assert row(store).dot == (at(5), PEER)


def test_a_new_write_is_not_restamped_and_has_seen_what_the_row_carries() -> None:
    store = Rig().open()
    apply(store, entry(at(9), written=(at(3), AUTHOR), context={OTHER: at(2)}))
    store.writer.put(b"k", b"mine", False)
    mine = row(store)
    assert mine.written == b""
    assert dict(zip(_origins(mine), _stamps(mine), strict=True)) == {AUTHOR: at(3), OTHER: at(2)}


def _stamps(line: IndexRow) -> list[int]:
    return [int.from_bytes(line.context[place + 8 : place + 16], "big") for place in range(0, len(line.context), 16)]
