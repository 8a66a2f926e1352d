"""The filter of known keys: it may err to one side only."""

from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.core.limits import FILTER_WORTH_LOOKUPS
from level_replicator.storage.state import key_filter
from level_replicator.storage.state.key_filter import KeyFilter
from level_replicator.storage.store import Store
from level_replicator.storage.write import local_writer
from tests.unit.storage.rig import Rig, assert_sound


@pytest.fixture(autouse=True, scope="module")
def _same_hashes_in_each_run() -> Iterator[None]:
    """Python's hash of bytes differs from run to run, and so do the keys that the filter takes for known ones."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (key_filter, local_writer):
            patch.setattr(module, "hash", crc32, raising=False)
        yield


@given(st.lists(st.binary(max_size=3)))
def test_of_a_key_that_was_added_it_is_never_said_that_it_is_new(keys: list[bytes]) -> None:
    known = KeyFilter()
    known.begin(empty=True)
    seen: set[bytes] = set()
    for key in keys:
        assert not (known.is_new(key) and key in seen)
        seen.add(key)
    assert not any(known.is_new(key) for key in seen)


def test_nearly_all_new_keys_are_told() -> None:
    known = KeyFilter()
    known.begin(empty=True)
    assert sum(known.is_new(b"%d" % number) for number in range(10_000)) > 9_900


def _lookups(store: Store) -> list[bytes]:
    """The keys that are read of the replication set from now on."""
    asked: list[bytes] = []
    get = store._state.rs.get

    def asking(key: bytes) -> bytes | None:
        asked.append(key)
        return get(key)

    store._state.rs.get = asking  # type: ignore[method-assign]
    return asked


def test_a_new_key_is_not_looked_up_and_a_known_one_is() -> None:
    store = Rig().open()
    asked = _lookups(store)
    store.writer.put(b"a", b"1", False)
    store.writer.write([(b"b", b"1"), (b"c", None)], False)
    assert asked == []
    store.writer.put(b"a", b"2", False)
    assert asked == [b"ia"]
    assert_sound(store)


def test_what_was_there_at_open_is_learned_once_it_is_worth_it() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    store.close()
    store = rig.open()
    store.learn_keys(lambda: True)
    assert not store._state.key_filter.whole
    for number in range(FILTER_WORTH_LOOKUPS):
        store.writer.put(b"new %d" % number, b"", False)
    store.learn_keys(lambda: False)
    assert not store._state.key_filter.whole
    store.learn_keys(lambda: True)
    assert store._state.key_filter.whole
    asked = _lookups(store)
    store.writer.put(b"newer", b"", False)
    store.writer.put(b"a", b"2", False)
    assert asked == [b"ia"]
    assert_sound(store)


def test_learning_is_given_up_when_the_filter_begins_anew() -> None:
    rig = Rig()
    store = rig.open()
    store.writer.put(b"a", b"1", False)
    store.close()
    store = rig.open()
    known = store._state.key_filter
    known.lookups = FILTER_WORTH_LOOKUPS

    def begins_anew() -> bool:
        known.begin(empty=False)
        return True

    store.learn_keys(begins_anew)
    assert not known.whole
