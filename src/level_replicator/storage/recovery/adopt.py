"""Taking over a LevelDB that has data: each key becomes a write of this node.

Only index rows are written, under a floor: the values stay where they are, once, and peers compare checksums
with their own instead of being sent what they have.
"""

import logging
from collections.abc import Callable, Iterator
from zlib import crc32

from level_replicator.core.entry import INDEX_HEAD
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from level_replicator.core.version_vector import encode_vector
from level_replicator.storage.state.index_scan import agrees, side_by_side
from level_replicator.storage.state.meta import store_meta
from level_replicator.storage.state.schema import INDEX, encode_stamp, encode_vector_entry, floor_key, vector_key
from level_replicator.storage.state.state import ReplicationState

_CHUNK_KEYS = 4_000
_CHUNK_BYTES = 4 * 1024 * 1024
_log = logging.getLogger("level_replicator.storage")


def adopt(state: ReplicationState, progress: Callable[[int], None] = lambda keys: None) -> int:
    """Takes over every key of the database that the index does not know. How many.

    Interrupted at any point, it goes on from there at the next open, and adopts nothing twice. `progress`: told the
    keys that are done. Before anybody else uses the replica. Raises ConfigError for what cannot be replicated."""
    meta = state.meta
    assert meta is not None
    meta.adopting = True
    store_meta(state.rs, meta)
    state.step("adopt: announced")
    # no log entry will have these values: they must outlive what is written of them
    state.db.batch(sync=True).write()
    adopted = done = 0
    for chunk, seen in _chunks(state):
        _adopt(state, chunk)
        adopted += len(chunk)
        done = seen
        state.step("adopt: a chunk")
        progress(done)
    meta.adopting = False
    meta.durable = encode_vector(state.vector)  # this record brings all of it to the disk
    store_meta(state.rs, meta)
    state.step("adopt: done")
    _log.info("adopted %d keys of %s", adopted, state.db.name)
    return adopted


def _adopt(state: ReplicationState, chunk: list[tuple[bytes, int]]) -> None:
    if not chunk:
        return
    origin = state.origin
    first = state.clock.next(state.now_ms(), len(chunk))
    last = first + len(chunk) - 1
    batch = state.rs.batch()
    put, pack = batch.put, INDEX_HEAD.pack
    for stamp, (key, checksum) in enumerate(chunk, first):
        put(INDEX + key, pack(stamp, origin, 0, checksum))
    batch.put(vector_key(origin), encode_vector_entry(last, last))
    batch.put(floor_key(origin), encode_stamp(last))
    batch.write()
    state.vector[origin] = state.newest[origin] = last
    state.floor = {**state.floor, origin: last}
    state.keys += len(chunk)


def _chunks(state: ReplicationState) -> Iterator[tuple[list[tuple[bytes, int]], int]]:
    """(key, checksum) of what is to be adopted, a chunk at a time, and how many keys were looked at."""
    chunk: list[tuple[bytes, int]] = []
    size = seen = 0
    for key, row, value in side_by_side(state.rs, state.db):
        if value is None:
            assert row is not None
            _disown(state, key)
            continue
        seen += 1
        size += len(key) + len(value)
        if row is not None and not agrees(row, value):
            _disown(state, key)
            row = None
        if row is None:
            if len(key) > MAX_KEY_BYTES or len(value) > MAX_VALUE_BYTES:
                raise _too_large(key, value)
            chunk.append((key, crc32(value)))
        if len(chunk) >= _CHUNK_KEYS or size >= _CHUNK_BYTES:
            yield chunk, seen
            chunk, size = [], 0
    yield chunk, seen


def _disown(state: ReplicationState, key: bytes) -> None:
    """Another program changed or deleted it since an adoption that was interrupted. Nobody has heard of the row."""
    state.rs.delete(INDEX + key)
    state.keys -= 1


def _too_large(key: bytes, value: bytes) -> ConfigError:
    return ConfigError(
        f"the key {key[:50]!r} ({len(key)} bytes, value {len(value)} bytes) is too large to be replicated: keys may"
        f" have {MAX_KEY_BYTES} bytes, values {MAX_VALUE_BYTES}; take it out of the database first"
    )
