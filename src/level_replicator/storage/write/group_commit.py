"""Group commit: threads that write with `sync` at the same time share one batch and one sync.

The first thread leads, as in LevelDB's writer queue: it writes its own batch and those that have arrived meanwhile as
one, and then hands the lead to the first of those that have arrived since. Each write is still atomic, and returns when
it is on the disk.
"""

import threading
from collections import deque
from collections.abc import Callable

from level_replicator.core.entry import Bytes
from level_replicator.core.errors import ReplicationError
from level_replicator.core.limits import MAX_GROUP_BYTES, MAX_GROUP_ENTRIES
from level_replicator.storage.state.state import ReplicationState

_Operations = list[tuple[bytes, Bytes | None]]


class _Waiting:
    """One write in the queue. `turn` is released when it is done, has failed, or becomes the leader."""

    __slots__ = ("done", "error", "operations", "size", "turn")

    def __init__(self, operations: _Operations) -> None:
        self.operations = operations
        self.size = sum([len(key) + (0 if value is None else len(value)) for key, value in operations])
        self.turn = threading.Lock()
        self.turn.acquire()
        self.done = False
        self.error: ReplicationError | None = None

    @property
    def over(self) -> bool:
        return self.done or self.error is not None


class GroupCommit:
    """The queue of synced writes of one replica. `write`: writes a batch, under the lock of the state."""

    def __init__(self, state: ReplicationState, write: Callable[[ReplicationState, _Operations, bool], None]) -> None:
        self._state = state
        self._write = write
        self._mutex = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._leader: _Waiting | None = None

    def write(self, operations: _Operations) -> None:
        """Write operations on different keys, and bring them to the disk. Raise the errors of `write`."""
        mine = _Waiting(operations)
        try:
            with self._mutex:
                self._queue.append(mine)
                if self._leader is None:
                    self._leader = mine
                    mine.turn.release()
            mine.turn.acquire()
            if not mine.over:
                self._lead()
        finally:
            self._leave(mine)
        if mine.error is not None:
            raise type(mine.error)(str(mine.error)) from mine.error

    def _lead(self) -> None:
        """Write the first of the queue, the leader's own write, and those that fit into its batch."""
        group: list[_Waiting] = []
        try:
            with self._state.lock:
                group = self._take_group()
                self._write_group(group)
        finally:
            with self._mutex:
                for each in group:
                    if each.over:
                        if each in self._queue:
                            self._queue.remove(each)
                        if each is not self._leader:
                            each.turn.release()

    def _leave(self, mine: _Waiting) -> None:
        """Leave the queue, and hand the lead to the next thread. A write that was interrupted before it was written is
        not written any more."""
        with self._mutex:
            if mine in self._queue:
                self._queue.remove(mine)
            if self._leader is mine:
                self._leader = self._queue[0] if self._queue else None
                if self._leader is not None:
                    self._leader.turn.release()

    def _take_group(self) -> list[_Waiting]:
        """Return the writes of the next batch. They stay in the queue until they are done. Of two writes of one key the
        later one waits."""
        group: list[_Waiting] = []
        keys: set[bytes] = set()
        count = size = 0
        with self._mutex:
            for each in self._queue:
                count += len(each.operations)
                size += each.size
                own = {key for key, _ in each.operations}
                if group and (count > MAX_GROUP_ENTRIES or size > MAX_GROUP_BYTES or not keys.isdisjoint(own)):
                    break
                keys |= own
                group.append(each)
        return group

    def _write_group(self, group: list[_Waiting]) -> None:
        state = self._state
        before = state.vector.get(state.origin, 0)
        try:
            state.check()
            self._write(state, [operation for each in group for operation in each.operations], True)
        except ReplicationError as error:
            for each in group:
                each.error = error
        finally:
            # also when an interrupt came after all was written
            if state.vector.get(state.origin, 0) > before:
                for each in group:
                    each.done = True
