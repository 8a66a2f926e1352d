"""The two hot paths that put their records themselves make the same bytes and the same fields as a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from level_replicator.core.entry import (
    Entry,
    decode_entry,
    decode_index,
    encode_context,
    encode_dot,
    encode_entry,
    encode_index,
)
from level_replicator.core.merge import next_context
from level_replicator.protocol.events import EntriesReceived
from level_replicator.storage.state.schema import INDEX
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.store import Store
from level_replicator.storage.write import local_writer
from level_replicator.storage.write.merger import Merger
from tests.unit.storage.rig import START_MS, Rig, assert_sound
from tests.unit.storage.state.test_transaction import mirrored

PEERS = (7, 8)
NOW = START_MS << 16


def put_in_transaction(state: ReplicationState, operations: list[tuple[bytes, Any]], sync: bool = False) -> None:
    """A local write, one edit after the other."""
    state.check()
    stamp = state.clock.next(state.now_ms(), len(operations))
    records: dict[int, bytes] = {}
    with Transaction(state, name="", sync=sync) as tx:
        for key, value in operations:
            context, live = b"", False
            state.key_filter.is_new(key)
            packed = state.rs.get(INDEX + key)
            if packed is not None:
                row = decode_index(packed)
                context = next_context(row.written_dot, row.context, state.origin)
                live = not row.deleted
                tx.overwrite(row.origin, row.stamp)
            record, flags, checksum = encode_entry(stamp, key, value, context)
            tx.put_log(state.origin, stamp, record)
            tx.put_row(key, encode_index(stamp, state.origin, flags, checksum, context))
            tx.put_value(key, value)
            tx.entries += 1
            tx.keys += (value is not None) - live
            records[stamp] = record
            stamp += 1
        tx.add_own(records)


def merge_in_transaction(self: Merger, entries: Iterator[tuple[int, Entry]], doubt: int, *, in_order: bool) -> bool:
    """`Merger.merge` without its short cuts: one entry at a time, every record by an edit."""
    state, tx = self._state, self.tx
    tx.db  # noqa: B018
    for origin, entry in entries:
        stamp, flags, checksum, key, value, context, record, written = entry
        self._newest = max(self._newest, stamp)
        if written:
            tx.note_written(entry.written_dot(origin))
        packed = state.rs.get(INDEX + key)
        state.key_filter.is_new(key)
        live, union = False, context
        if packed is not None:
            met = self._meet(origin, entry, packed, doubt)
            if met is None:
                continue
            union, live = met
        elif not self._takes_absent(origin, entry, doubt):
            continue
        else:
            self._entries += 1
        if stamp <= state.floor.get(origin, 0):
            tx.set_late()
        tx.put_log(origin, stamp, record)
        tx.put_row(key, encode_index(stamp, origin, flags, checksum, union, context, written))
        tx.put_value(key, value)
        self._keys += (value is not None) - live
        self.news.setdefault(origin, []).append((stamp - 1, stamp))
    return True


class Pair:
    """A store with the hot paths, and one with transactions, on equal disks."""

    def __init__(self) -> None:
        self.rigs = Rig(), Rig()
        for disk in ("db_disk", "rs_disk"):  # the meta record contains the identities
            getattr(self.rigs[1], disk).identity = getattr(self.rigs[0], disk).identity
        self.open()

    def open(self) -> None:
        for rig in self.rigs:
            rig.open()

    @property
    def stores(self) -> tuple[Store, Store]:
        hot, plain = (rig.store for rig in self.rigs)
        assert hot is not None
        assert plain is not None
        return hot, plain

    def write(self, operations: list[tuple[bytes, Any]], sync: bool) -> None:
        hot, plain = self.stores
        if len(operations) == 1 and operations[0][1] is not None:
            hot.writer.put(*operations[0], sync)
        else:
            hot.writer.write(operations, sync)
        put_in_transaction(plain._state, list(dict(operations).items()), sync)

    def apply(self, frame: EntriesReceived) -> None:
        hot, plain = (store for store in self.stores)
        applied = hot.apply(frame, frame.origin, {})
        with mock.patch.object(Merger, "merge", _merge_plainly):
            other = plain.apply(frame, frame.origin, {})
        assert (applied.moved, applied.whole, applied.restamped) == (other.moved, other.whole, other.restamped)
        assert single(applied.news, frame) == single(other.news, frame)

    def check(self) -> None:
        hot, plain = (store._state for store in self.stores)
        assert list(hot.rs.scan()) == list(plain.rs.scan())
        assert list(hot.db.scan()) == list(plain.db.scan())
        assert mirrored(hot) == mirrored(plain)
        assert (hot.restored_gap, hot.next_epoch) == (plain.restored_gap, plain.next_epoch)
        assert hot.tail.above(hot.tail.since) == plain.tail.above(plain.tail.since)
        assert (hot.conflicts, hot.clock.last) == (plain.conflicts, plain.clock.last)
        for store in self.stores:
            assert_sound(store)


def _merge_plainly(self: Merger, entries: Any, doubt: int, *, in_order: bool = True) -> bool:
    return merge_in_transaction(self, entries, doubt, in_order=in_order)


def single(news: dict[int, list[tuple[int, int]]], frame: EntriesReceived) -> set[int]:
    """The stamps of the frame's entries that are news."""
    spans = news.get(frame.origin, [])
    return {entry.stamp for entry in frame.entries if any(low < entry.stamp <= high for low, high in spans)}


keys = st.sampled_from([b"a", b"b", b"c"])
values = st.sampled_from([b"", b"1", b"22", None])
batches = st.lists(st.tuples(keys, values), min_size=1, max_size=3)


@st.composite
def frames(draw: st.DrawFn) -> Callable[[int], EntriesReceived]:
    """Entries of a peer, with contexts and of re-stamped writes, newer or older than local ones. They are made from a
    number, so that each has a dot of its own."""
    origin, side, complete = draw(st.sampled_from(PEERS)), draw(st.integers(-1, 1)), draw(st.booleans())
    entries = [
        (
            key,
            draw(values),
            encode_context(draw(st.dictionaries(st.sampled_from([5, 6]), st.integers(1, 3), max_size=1))),
            draw(st.one_of(st.just(0), st.integers(1, 1 << 19))),
        )
        for key in draw(st.lists(keys, unique=True, min_size=1))
    ]

    def make(number: int) -> EntriesReceived:
        low = NOW + side * (1 << 18) + 10 * number
        made = [
            encode_entry(stamp, key, value, context, encode_dot(stamp - age, 9) if age else b"")[0]
            for stamp, (key, value, context, age) in enumerate(entries, low + 1)
        ]
        high = low + len(made)
        decoded = [decode_entry(record) for record in made]
        return EntriesReceived(origin, low, high, decoded, high, {origin: high} if complete else None)

    return make


steps = st.one_of(
    st.tuples(st.just("write"), batches, st.booleans()),
    st.tuples(st.just("write"), st.tuples(keys, st.binary(max_size=3)).map(lambda pair: [pair]), st.just(False)),
    st.tuples(st.just("apply"), frames()),
    st.tuples(st.sampled_from(["reopen", "kill", "truncate", "later"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=12))
def test_same_bytes_and_same_fields(schedule: list[tuple[Any, ...]]) -> None:
    pair = Pair()
    for number, (kind, *arguments) in enumerate(schedule):
        match kind:
            case "write":
                pair.write(*arguments)
            case "apply":
                pair.apply(arguments[0](number))
            case "reopen":
                for store in pair.stores:
                    store.close()
                pair.open()
            case "kill":
                for rig in pair.rigs:
                    rig.kill()
                pair.open()
            case "truncate":
                for store in pair.stores:
                    store.retention.truncate()
            case "later":
                for rig in pair.rigs:
                    rig.now_ms += 1
        pair.check()


def test_another_byte_is_noticed() -> None:
    """A hot path that forgets the entry that it overwrites."""

    def forgetful(state: ReplicationState, packed: bytes, drop: Any) -> Any:
        return overwrite(state, packed, lambda key: None)

    overwrite = local_writer._overwrite
    pair = Pair()
    pair.write([(b"a", b"1")], False)
    with mock.patch.object(local_writer, "_overwrite", forgetful):
        pair.write([(b"a", b"2")], False)
    hot, plain = (store._state for store in pair.stores)
    assert list(hot.rs.scan()) != list(plain.rs.scan())
