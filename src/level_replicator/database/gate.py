"""The gate that every call into a plyvel handle passes: no handle is used while, or after, it is deleted.

plyvel lets go of the GIL inside LevelDB and deletes the LevelDB on `close`: a call that is inside at that
moment crashes the process. So callers write themselves into `calls` first and look at `shut` second, while
`close` sets `shut` first and looks at `calls` second: one of the two always sees the other.

Hot callers write these steps out, and only like this; `Gate.call` is the same for the others:

    me = get_ident()
    try:
        calls.append(me)
        if gate.shut:
            gate.refuse()
        return ...
    finally:
        calls.remove(me)

`append` stands inside the `try` because a signal handler can raise just after it, but not before it. Both are
single steps in C. No variable of such a caller may hold a handle: a traceback would keep it beyond the gate.
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
    """Open until `close`, or until a fork in the child. `handles`: what a forked child must never delete.

    As a context manager it is `call` for a block, but for a signal handler that raises at its very end, which
    would leave the caller inside for good: not for what a main thread calls often."""

    __slots__ = ("__weakref__", "_closing", "_finished", "_handles", "_parked", "calls", "forked", "shut")

    def __init__(self, *handles: object) -> None:
        self.calls: collections.deque[int] = collections.deque()  # the threads that are inside
        self.shut = False
        self.forked = False
        self._handles = list(handles)
        self._parked: list[object] = []
        self._closing = threading.RLock()
        self._finished = False
        _watch_forks(self)

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Calls the function inside the gate. Raises ClosedError or ForkError instead when it is shut."""
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
        """Raises what a caller at a shut gate is to get: ClosedError or ForkError."""
        if self.forked:
            raise ForkError("this database belongs to the parent process: open one of its own in the child")
        raise ClosedError("Database is closed")

    def park(self, handle: object) -> None:
        """Takes over the caller's last reference to a handle when the gate is shut: deleting is a call."""
        if self.forked:
            _keep_for_ever(handle)
        else:
            self._parked.append(handle)

    def keep_in_child(self, handle: object) -> None:
        """Adds to the handles that a forked child must never delete."""
        self._handles.append(handle)

    def close(self, delete: Callable[[], None]) -> None:
        """Shuts the gate, waits until nobody is inside, then calls `delete`, once. Later calls wait for that.

        Raises ForkError in a forked child; ReplicationError when this very thread is inside, which a signal
        handler can be: it would wait for itself."""
        if self.forked:
            self.refuse()
        with self._closing:
            if self._finished:
                return
            if get_ident() in self.calls.copy():
                raise ReplicationError(
                    "close() interrupted a call of its own thread, as signal handlers do: close after it"
                )
            self.shut = True
            self._wait_until_empty()
            self._finish(delete)

    def _wait_until_empty(self) -> None:
        wait_s = _FIRST_WAIT_S
        while self.calls:  # polled, so that leaving the gate costs nothing
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _finish(self, delete: Callable[[], None]) -> None:
        if self._finished:  # a signal handler closed while this thread waited
            return
        try:
            delete()
        except Exception:  # it has failed, and will again; but after an interrupt the next close goes on with it
            self._finished = True
            self._parked.clear()
            raise
        self._finished = True
        self._parked.clear()

    def shut_in_child(self) -> None:
        """After a fork, in the child: refuses everything. LevelDB's threads are not here, its locks may be
        held for good, its buffers are the parent's: deleting a handle could hang the child or harm files."""
        self.forked = self.shut = True
        for handle in (*self._handles, *self._parked):
            _keep_for_ever(handle)


def _watch_forks(gate: Gate) -> None:
    # Python cannot take such a hook back: what stays of a database is this function and a dead reference.
    reference = weakref.ref(gate)

    def in_child() -> None:
        gate = reference()
        if gate is not None:
            gate.shut_in_child()

    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=in_child)


def _keep_for_ever(handle: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
