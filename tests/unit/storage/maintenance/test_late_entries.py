"""Entries that came back below the floor, after a loss."""

from tests.unit.storage.recovery.test_repair import KEYS, assert_whole, write_keys
from tests.unit.storage.rig import Rig, allow, contents, dots, give_up, pull


def test_truncation_remembers_late_entries_that_it_may_not_take_yet() -> None:
    """Above the vector, since a scan broke off, and below the floor, since it was once known: a write over one of
    them must find its entry."""
    rig, peer = Rig(1), Rig(2).open()
    write_keys(peer)
    store = rig.open()
    pull(store, peer)
    store.retention.truncate()
    store._state.db.delete(KEYS[2])
    give_up(store)
    store = rig.reopen_after_kill()
    pull(store, peer)
    store._state.db.delete(KEYS[5])
    give_up(store)
    store = rig.reopen_after_kill()
    peer.writer.put(KEYS[9], b"again", False)
    store._state.db.delete(KEYS[8])
    give_up(store)
    store = rig.reopen_after_kill()
    assert not pull(store, peer, allow(1), frame_entries=3)
    late = [key for key, (stamp, origin) in dots(store).items() if stamp <= store.floor.get(origin, 0)]
    assert KEYS[8] in late
    assert store.retention.truncate() > 0
    store.writer.put(KEYS[8], b"over it", False)
    assert_whole(store)
    pull(store, peer)
    assert set(contents(store)) == set(KEYS)
