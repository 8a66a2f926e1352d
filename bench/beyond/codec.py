"""Puts the compiled loops in the place of the package's own, in this process: plyvel still does all that LevelDB does.

What they do not know, and the package does, is the package's: `sync`, a floor, a reconciliation, callbacks, values that
are not bytes, and what is said of frames that are not sound.
"""

from collections.abc import Callable, Iterable
from typing import Any

from bench.beyond import build
from level_replicator.protocol import pull
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction
from level_replicator.storage.write import remote_applier
from level_replicator.storage.write.local_writer import LocalWriter, Operation

_decode_entries, _merge, _write_locked = pull.decode_entries, remote_applier.Merger.merge, LocalWriter.write_locked


def install() -> None:
    native = build.load("codec")

    def decode_entries(records: list[bytes], low: int, high: int) -> Any:
        return native.decode_entries(records, low, high) or _decode_entries(records, low, high)

    def write_locked(state: ReplicationState, operations: list[Operation], sync: bool) -> None:
        if sync or state.floor:
            _write_locked(state, operations, sync)
            return
        origin, known = state.origin, state.key_filter
        first = state.clock.next(state.now_ms(), len(operations))
        tx = Transaction(state, name="")
        new, _, gone, tx.keys, tx.entries, lookups = native.encode_batch(
            operations, origin, first, known.bits, known.whole, *_calls(state, tx)
        )
        known.lookups += lookups
        tx.add_own(new)
        tx.drop_from_tail(list(gone))
        tx.commit()

    def merge(self: Any, entries: Iterable[Any], doubt: int, *, in_order: bool = True) -> bool:
        state: ReplicationState = self._state
        listed = list(entries)
        origins = {origin for origin, _ in listed}
        if (
            self._known
            or doubt
            or not in_order
            or self._bulk_loading
            or state.floor
            or state.unreported.wanted
            or len(origins) != 1
        ):
            return _merge(self, iter(listed), doubt, in_order=in_order)
        (origin,) = origins
        runs, gone, newest, keys, more, met, lookups = native.merge(
            [entry for _, entry in listed],
            origin,
            state.origin,
            state.vector.get(origin, 0),
            state.key_filter.bits,
            state.key_filter.whole,
            *_calls(state, self.tx),
        )
        if runs:
            self.news.setdefault(origin, []).extend(zip(runs[::2], runs[1::2], strict=True))
        state.key_filter.lookups += lookups
        self.tx.drop_from_tail(list(gone))
        self._newest = max(self._newest, newest)
        self._keys, self._entries, self._met = self._keys + keys, self._entries + more, self._met + met
        return True

    pull.decode_entries = decode_entries
    LocalWriter.write_locked = staticmethod(write_locked)  # type: ignore[method-assign]
    remote_applier.Merger.merge = merge  # type: ignore[method-assign]


def _calls(state: ReplicationState, tx: Transaction) -> tuple[Callable[..., Any], ...]:
    return state.rs.get, tx.rs.put, tx.rs.delete, tx.db.put, tx.db.delete
