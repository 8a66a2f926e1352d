"""Group commit: who writes at one time shares what brings it to the disk, and nobody waits for ever."""

import threading
from collections.abc import Iterator

import pytest

from level_replicator.core.errors import StorageError
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.write import group_commit
from level_replicator.storage.write.group_commit import GroupCommit
from level_replicator.storage.write.local_writer import LocalWriter, Operation
from tests.harness.waiting import wait_until
from tests.unit.storage.rig import Rig, assert_sound, contents

THREADS = 8


class Held:
    """The write under the lock, of which the first waits until it may go on. `batches`: the keys of each."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.fails: BaseException | None = None

    def __call__(self, state: ReplicationState, operations: list[Operation], sync: bool) -> None:
        assert sync
        self.batches.append([key for key, _ in operations])
        if len(self.batches) == 1:
            self.began.set()
            assert self.may_go_on.wait(30)
        elif self.fails is not None:
            raise self.fails
        LocalWriter.write_locked(state, operations, False)


class Writers:
    """One thread is held in its write, and others wait behind it."""

    def __init__(self) -> None:
        self.store = Rig().open()
        self.held = Held()
        self.group = GroupCommit(self.store._state, self.held)
        self.outcomes: dict[bytes, BaseException | None] = {}
        self._threads: list[threading.Thread] = []
        self._start(b"first")
        assert self.held.began.wait(30)

    def _start(self, *keys: bytes) -> None:
        def write() -> None:
            try:
                self.group.write([(key, b"v") for key in keys])
                self.outcomes[keys[0]] = None
            except BaseException as error:
                self.outcomes[keys[0]] = error

        self._threads.append(threading.Thread(target=write))
        self._threads[-1].start()

    def queue(self, *keys: bytes) -> None:
        waiting = len(self.group._queue)
        self._start(*keys)
        wait_until(lambda: len(self.group._queue) > waiting, "the write waits in the queue")

    def finish(self) -> None:
        self.held.may_go_on.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def writers() -> Iterator[Writers]:
    writers = Writers()
    yield writers
    writers.finish()


def test_all_that_wait_are_written_together(writers: Writers) -> None:
    keys = [b"%d" % number for number in range(THREADS)]
    for key in keys:
        writers.queue(key)
    writers.finish()
    assert writers.held.batches == [[b"first"], keys]
    assert set(writers.outcomes.values()) == {None}
    assert contents(writers.store).keys() == {b"first", *keys}
    assert_sound(writers.store)


def test_of_two_writes_of_one_key_the_later_one_waits(writers: Writers) -> None:
    for keys in ((b"a",), (b"b",), (b"b", b"c"), (b"d",)):
        writers.queue(*keys)
    writers.finish()
    assert writers.held.batches == [[b"first"], [b"a", b"b"], [b"b", b"c", b"d"]]
    assert_sound(writers.store)


@pytest.mark.parametrize("bound", ["MAX_GROUP_ENTRIES", "MAX_GROUP_BYTES"])
def test_a_group_is_bounded(writers: Writers, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(group_commit, bound, 2 if bound == "MAX_GROUP_ENTRIES" else 4)
    for key in (b"a", b"b", b"c"):
        writers.queue(key)
    writers.finish()
    assert writers.held.batches == [[b"first"], [b"a", b"b"], [b"c"]]


def test_what_fails_fails_for_all_of_the_group(writers: Writers) -> None:
    writers.held.fails = StorageError("the disk is full")
    writers.queue(b"a")
    writers.queue(b"b")
    writers.finish()
    assert writers.outcomes[b"first"] is None
    assert [type(writers.outcomes[key]) for key in (b"a", b"b")] == [StorageError] * 2


def test_an_interrupt_of_the_leader_before_it_wrote_lets_the_next_one_lead(writers: Writers) -> None:
    writers.held.fails = KeyboardInterrupt()
    writers.queue(b"a")
    writers.queue(b"b")
    writers.finish()
    # each leads once, and is interrupted in its turn: nobody is left behind, and nothing was written
    assert [type(writers.outcomes[key]) for key in (b"a", b"b")] == [KeyboardInterrupt] * 2
    assert contents(writers.store).keys() == {b"first"}
    assert not writers.group._queue
    assert writers.group._leader is None


def test_alone_it_is_as_any_write() -> None:
    store = Rig().open()
    store.writer.put(b"a", b"1", True)
    store.writer.write([(b"b", b"2"), (b"a", None)], True)
    assert contents(store) == {b"b": b"2"}
    assert_sound(store)
