"""The gate that every call into a plyvel handle passes: no handle is used while, or after, it is deleted.

plyvel releases the GIL inside LevelDB, and `close` deletes the LevelDB: a call that is inside at that moment crashes
the process. Therefore a caller first adds its thread to `calls` and then reads `shut`, while `close` first sets `shut`
and then reads `calls`: at least one of the two sees the other.

Hot callers write these steps out, in exactly this form; all others use `Gate.call`:

    me = get_ident()
    try:
        calls.append(me)
        if gate.shut:
            gate.refuse()
        return ...
    finally:
        calls.remove(me)

`append` is inside the `try` because a signal handler can raise right after it, but not between `try` and `append`.
`append` and `remove` are single steps in C. No variable of such a caller may hold a handle: a traceback would keep the
handle alive outside of the gate.
"""

import collections
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import NoReturn, ParamSpec, TypeVar

from level_replicator.core.errors import ClosedError, ForkError, ReplicationError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_FIRST_WAIT_S = 0.000_05
_LONGEST_WAIT_S = 0.01


class Gate:
    """Open until `close`; in a forked child, shut from the fork on. A forked child never deletes the `handles`.

    As a context manager it is `call` for a block, with one exception: a signal handler that raises at the very end of
    the block leaves the caller inside for ever. Do not use it for calls that a main thread makes often."""

    __slots__ = ("__weakref__", "_closing", "_finished", "_handles", "_parked", "calls", "forked", "shut")

    def __init__(self, *handles: object) -> None:
        self.calls: collections.deque[int] = collections.deque()  # threads that are inside
        self.shut = False
        self.forked = False
        self._handles = list(handles)
        self._parked: list[object] = []
        self._closing = threading.RLock()
        self._finished = False
        _watch_forks(self)

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call the function inside the gate. Raises ClosedError or ForkError when the gate is shut."""
        calls = self.calls
        me = get_ident()
        try:
            calls.append(me)
            if self.shut:
                self.refuse()
            return function(*args, **kwargs)
        finally:
            calls.remove(me)

    def __enter__(self) -> None:
        self.calls.append(get_ident())
        if self.shut:
            self.calls.remove(get_ident())
            self.refuse()

    def __exit__(self, *_: object) -> None:
        self.calls.remove(get_ident())

    def refuse(self) -> NoReturn:
        """Raise the error for callers at a shut gate: ClosedError, in a forked child ForkError."""
        if self.forked:
            raise ForkError(
                "this database belongs to the parent process, and LevelDB does not survive a fork: open one in the"
                " child"
            )
        raise ClosedError("Database is closed")

    def park(self, handle: object) -> None:
        """Take over the caller's last reference to a handle while the gate is shut, because deleting it is a call."""
        if self.forked:
            _keep_for_ever(handle)
        else:
            self._parked.append(handle)

    def keep_in_child(self, handle: object) -> None:
        """Add a handle that a forked child must never delete."""
        self._handles.append(handle)

    def close(self, delete: Callable[[], None]) -> None:
        """Shut the gate, wait until no thread is inside, then call `delete`, once. Later calls wait for that.

        Raises ForkError in a forked child, ReplicationError when this thread is inside itself, as in a signal handler:
        it would wait for itself."""
        if self.forked:
            self.refuse()
        with self._closing:
            if self._finished:
                return
            if get_ident() in self.calls.copy():
                raise ReplicationError(
                    "close() was called in a signal handler that interrupted a call of the same thread: close after"
                    " that call"
                )
            self.shut = True
            self._wait_until_empty()
            self._finish(delete)

    def _wait_until_empty(self) -> None:
        wait_s = _FIRST_WAIT_S
        while self.calls:  # polling, so that leaving the gate costs nothing
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _finish(self, delete: Callable[[], None]) -> None:
        if self._finished:  # a signal handler closed while this thread waited
            return
        try:
            delete()
        except Exception:  # it would fail again; after an interrupt, however, the next `close` continues
            self._finished = True
            self._parked.clear()
            raise
        self._finished = True
        self._parked.clear()

    def shut_in_child(self) -> None:
        """Refuse everything, in the child after a fork. LevelDB's threads do not exist here, its locks may be held for
        ever, and its buffers are copies of the parent's: deleting a handle could hang the child or damage files."""
        self.forked = self.shut = True
        for handle in (*self._handles, *self._parked):
            _keep_for_ever(handle)


def _watch_forks(gate: Gate) -> None:
    # Python cannot remove such a hook: this function and a dead reference remain of each database.
    reference = weakref.ref(gate)

    def in_child() -> None:
        gate = reference()
        if gate is not None:
            gate.shut_in_child()

    os.register_at_fork(after_in_child=in_child)


def _keep_for_ever(handle: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
