"""Adoption of a LevelDB that has data: each key becomes a write of this node.

Only index rows are written, and the floor is raised above them, so that the log does not contain the values a second
time. Peers compare checksums, and receive only the values that they lack.
"""

import logging
from collections.abc import Callable, Iterator
from zlib import crc32

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.core.version_vector import encode_vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.state import ReplicationState
from level_replicator.storage.state.transaction import Transaction

_CHUNK_KEYS = 4_000
_CHUNK_BYTES = 4 * 1024 * 1024
_log = logging.getLogger("level_replicator.storage")


def adopt(state: ReplicationState, progress: Callable[[int], None] = lambda keys: None) -> int:
    """Adopt every key of the database that the index lacks, and return their number.

    Call this before the replica is used. The meta record contains `adopting`, so the next open continues an interrupted
    adoption, and adopts no key twice. `progress` is called with the number of keys done. Raises ConfigError for a key
    or value that is too large."""
    state.step("adopt: announced")
    # the log will not contain these values: they must be on the disk before their index rows
    state.flush_database()
    adopted = done = 0
    for chunk, seen in _chunks(state):
        _adopt(state, chunk)
        adopted += len(chunk)
        done = seen
        state.step("adopt: a chunk")
        progress(done)
    with Transaction(state, sync=True) as tx:  # which syncs all earlier batches too
        tx.change_meta(adopting=False, durable=encode_vector(state.vector))
    state.step("adopt: done")
    _log.info("adopted %d keys of %s", adopted, state.db.name)
    return adopted


def _adopt(state: ReplicationState, chunk: list[tuple[bytes, int]]) -> None:
    if not chunk:
        return
    origin = state.origin
    first = state.clock.next(state.now_ms(), len(chunk))
    last = first + len(chunk) - 1
    pack = INDEX_HEAD.pack
    with Transaction(state) as tx:
        for stamp, (key, checksum) in enumerate(chunk, first):
            tx.put_row(key, pack(stamp, origin, 0, checksum))
        tx.set_vector(origin, last, replay_above=last)
        tx.raise_floor(origin, last)
        tx.keys = len(chunk)


def _chunks(state: ReplicationState) -> Iterator[tuple[list[tuple[bytes, int]], int]]:
    """Yield lists of (key, checksum) of keys to adopt, each with the number of keys compared so far."""
    chunk: list[tuple[bytes, int]] = []
    size = seen = 0
    for key, row, value in side_by_side(state.rs, state.db):
        if value is None:
            assert row is not None
            _forget_row(state, key)
            continue
        seen += 1
        size += len(key) + len(value)
        if row is not None and not agrees(row, value):
            _forget_row(state, key)
            row = None
        if row is None:
            if len(key) > MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
                raise _too_large(key, value)
            chunk.append((key, crc32(value)))
        if len(chunk) >= _CHUNK_KEYS or size >= _CHUNK_BYTES:
            yield chunk, seen
            chunk, size = [], 0
    yield chunk, seen


def _forget_row(state: ReplicationState, key: bytes) -> None:
    """Delete the row of a key that another program changed or deleted after an adoption was interrupted.

    No other node knows the row yet."""
    with Transaction(state) as tx:
        tx.delete_row(key)
        tx.keys = -1


def _too_large(key: bytes, value: bytes) -> ConfigError:
    return ConfigError(
        f"the key {key[:50]!r} ({len(key)} bytes, value {len(value)} bytes) is too large to be replicated: keys may"
        f" have {MAX_KEY_BYTES} bytes, values {MAX_VALUE_BYTES}; remove it from the database first"
    )
