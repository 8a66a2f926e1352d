"""Epochs that begin with the first write of a run, what is learned of peers, and branches that are renamed."""

import pytest

from level_replicator.core.entry import decode_context, decode_entry, decode_index, encode_dot
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_BRANCHES
from level_replicator.storage.state.log_reader import restore_entry
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.store import Store
from level_replicator.storage.write.restamps import Restamps
from tests.unit.storage.rig import Died, Rig, contents, dots, pull


def reopened(rig: Rig) -> Store:
    assert rig.store is not None
    rig.store.close()
    rig.now_ms += 1_000
    return rig.open()


def unseen_copy(rig: Rig, seed: int) -> Rig:
    copy = Rig(seed)
    copy.db_disk, copy.rs_disk = rig.db_disk.copy(unseen=True), rig.rs_disk.copy(unseen=True)
    copy.now_ms = rig.now_ms + 1_000
    return copy


def acquaint(*stores: Store) -> None:
    """Each is told what each other one knows, until nothing changes."""
    for _ in range(4):
        for store in stores:
            for peer in stores:
                learned = store.learn_histories(peer.histories, peer.branches)
                assert not learned.forgot
                if learned.branches:
                    store.branch(learned.branches)


def assert_whole(store: Store) -> None:
    """Log and index agree, and the entries are those that would be made of the index and the database."""
    state = store._state
    index = {key[len(INDEX) :]: line for key, line in state.rs.scan(INDEX, following(INDEX))}
    logged = {decode_entry(record).key: log_dot(key) for key, record in state.rs.scan(LOG, following(LOG))}
    rows = {key: decode_index(line) for key, line in index.items()}
    assert logged == {key: row.dot for key, row in rows.items() if row.stamp > store.floor.get(row.origin, 0)}
    for key, record in state.rs.scan(LOG, following(LOG)):
        entry = decode_entry(record)
        row = rows[entry.key]
        assert (entry.written, entry.context) == (row.written, row.own)
        state.rs.delete(key)
        assert restore_entry(state.rs, state.db, entry.key, index[entry.key]) == record
        state.rs.put(key, record)


def test_an_epoch_begins_with_the_first_write_of_a_run_but_the_first() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    assert store.histories == {}
    reached = store.vector[store.origin]
    reopened(rig)
    store = reopened(rig)
    assert store.histories == {}, "runs without a write leave nothing"
    store.writer.put(b"a", b"2", False)
    ((epoch, start),) = store.histories[store.origin]
    assert start == reached
    assert epoch >> 40 == store.origin >> 40
    store.writer.write([(b"a", b"3"), (b"b", None)], True)
    store = reopened(rig)
    assert store.histories == {store.origin: ((epoch, start),)}
    store.writer.write([(b"a", b"4")], True)
    assert store.histories[store.origin][0] == (epoch, start)
    assert len(store.histories[store.origin]) == 2


def test_a_run_that_only_restamps_begins_an_epoch() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    ((stamp, origin),) = dots(store).values()
    store = reopened(rig)
    state = store._state
    with state.lock, Transaction(state) as tx:
        restamps = Restamps(state)
        restamps.add(b"b", None, b"", encode_dot(stamp, origin))
        restamps.put_into(tx)
    ((_, start),) = store.histories[origin]
    assert start == stamp
    assert reopened(rig).histories == store.histories


@pytest.mark.parametrize("step", ["before rs", "between rs and db"])
def test_an_epoch_is_in_the_batch_of_its_first_write(step: str) -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    reopened(rig)
    assert rig.store is not None
    rig.die_at = step
    with pytest.raises(Died):
        rig.store.writer.put(b"a", b"2", False)
    store = rig.reopen_after_kill()
    assert bool(store.histories) == (contents(store) == {b"a": b"2"})


def forked() -> tuple[Rig, Rig, Rig]:
    """A directory, an unseen copy of it that has written too, and a peer that has read the first before and after."""
    rig, other = Rig(1), Rig(2)
    store, peer = rig.open(), other.open()
    store.writer.write([(b"%d" % number, b"common") for number in range(6)], False)
    pull(peer, store)
    store.close()
    duplicate = unseen_copy(rig, 3)
    rig.now_ms += 1_000
    store = rig.open()
    store.writer.write([(b"1", b"first"), (b"2", None), (b"first", b"1")], False)
    other.now_ms += 2_000
    acquaint(store, peer)
    pull(peer, store)
    peer.writer.put(b"1", b"peer", False)  # it has seen what the first wrote
    pull(store, peer)
    copy = duplicate.open()
    copy.writer.write([(b"1", b"duplicate"), (b"3", b"duplicate"), (b"duplicate", b"1")], False)
    return rig, duplicate, other


def test_both_continuations_become_origins() -> None:
    rig, duplicate, other = forked()
    store, copy, peer = rig.store, duplicate.store, other.store
    assert store is not None
    assert copy is not None
    assert peer is not None
    old = store.origin
    assert copy.origin == old
    acquaint(store, copy, peer)
    assert len({store.origin, copy.origin, old}) == 3
    assert store.branches == copy.branches == peer.branches
    assert set(store.branches) == {store.origin, copy.origin}
    assert store.histories == copy.histories == peer.histories == {}
    for _ in range(2):
        for each in (store, copy, peer):
            for source in (store, copy, peer):
                if each is not source:
                    pull(each, source)
    for each in (store, copy, peer):
        assert_whole(each)
        assert contents(each) == contents(store)
        assert dots(each) == dots(store)
        assert each.vector == store.vector
    assert contents(store) == {
        b"0": b"common",
        b"1": b"peer",
        b"3": b"duplicate",
        b"4": b"common",
        b"5": b"common",
        b"first": b"1",
        b"duplicate": b"1",
    }


def test_a_context_says_what_the_origin_wrote_before_the_fork_too() -> None:
    rig, duplicate, other = forked()
    store, copy, peer = rig.store, duplicate.store, other.store
    assert store is not None
    assert copy is not None
    assert peer is not None
    old, common = store.origin, store.branches
    line = peer._state.rs.get(INDEX + b"1")
    assert line is not None
    seen = decode_context(decode_index(line).context)[old]
    acquaint(store, copy, peer)
    start = peer.branches[store.origin]
    line = peer._state.rs.get(INDEX + b"1")
    assert line is not None
    assert decode_context(decode_index(line).context) == {old: start, store.origin: seen}
    assert common == {}


@pytest.mark.parametrize(
    "step",
    [
        "branch: a batch renamed",
        "branch: rows renamed",
        "branch: before the last batch",
        "branch: after the last batch",
    ],
)
def test_a_renaming_that_was_interrupted_goes_on(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level_replicator.storage.recovery.branches.REPAIR_BATCH_ENTRIES", 1)
    rig, duplicate, other = forked()
    store, copy, peer = rig.store, duplicate.store, other.store
    assert store is not None
    assert copy is not None
    assert peer is not None
    store.retention.truncate(before=store.vector[store.origin] - 2)
    before = contents(store)
    branches = copy.learn_histories(store.histories, store.branches).branches
    whole = unseen_copy(rig, 4)
    rig.die_at = step
    with pytest.raises(Died):
        store.branch(branches)
    store = rig.reopen_after_kill()
    other_store = whole.open()
    other_store.branch(branches)
    assert_whole(store)
    assert contents(store) == before
    assert dots(store) == dots(other_store)
    assert (store.origin, store.vector, store.floor) == (other_store.origin, other_store.vector, other_store.floor)
    assert store.histories == {}
    store.writer.put(b"more", b"1", False)
    assert [epoch for epoch, _ in store.histories[store.origin]], "another run goes on with the branch"


def test_a_node_that_has_forgotten_an_epoch_of_its_own() -> None:
    rig, other = Rig(1), Rig(2)
    store, peer = rig.open(), other.open()
    store.writer.put(b"a", b"1", False)
    store.close()
    older = unseen_copy(rig, 3)
    store = rig.open()
    store.writer.put(b"a", b"2", False)
    peer.learn_histories(store.histories, store.branches)
    assert older.open().learn_histories(peer.histories, peer.branches).forgot


def test_too_many_branches_are_refused() -> None:
    store = Rig().open()
    with pytest.raises(RemoteProtocolError, match="branches"):
        store.branch(dict.fromkeys(range(1, MAX_BRANCHES + 2), 1))
