"""A consistent copy of a live replica.

The copy is an ordinary directory: to restore it, put it in the place of the old one and open it. Its identity differs
from that of the original, so the replica that opens it gets a new origin automatically.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from level_replicator.core.errors import ConfigError, StorageError
from level_replicator.core.version_vector import encode_vector
from level_replicator.leveldb import error_text
from level_replicator.storage.engine.base import Engine, Snapshot
from level_replicator.storage.engine.directory import sync_directory
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS, open_engine
from level_replicator.storage.state.meta import Meta, encode_meta
from level_replicator.storage.state.schema import META
from level_replicator.storage.state.state import ReplicationState

_BATCH_BYTES = 4 * 1024 * 1024
_MARK = "LEVEL-REPLICATOR-BACKUP"
"""Name of a file in an incomplete copy. A later backup may delete a directory that contains it."""


def backup(
    state: ReplicationState,
    path: str | os.PathLike[str],
    *,
    rs_options: dict[str, Any],
    progress: Callable[[int], None] = lambda keys: None,
) -> int:
    """Copy database and replication set, as of one instant, to `path`/db and `path`/rs. Return the number of keys.

    `path` must not exist, or be an empty directory. The copy appears there when it is complete and synced. Writes
    continue meanwhile. `rs_options` are plyvel's options for the copy of the replication set. `progress` is called with
    the number of keys copied so far. Raises ConfigError if `path` cannot be used, StorageError if the copy fails."""
    target = Path(os.path.abspath(path))
    part = target.with_name(target.name + ".part")
    for own in (state.db.name, state.rs.name):
        if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(own)):
            raise ConfigError(f"{target} is inside {own}, which is copied: give a path outside of it")
    _prepare(target, part)
    try:
        with state.lock:
            state.check()
            rs, db = state.rs.snapshot(), state.db.snapshot()
            meta, keys, entries, vector = state.meta, state.keys, state.entries, dict(state.vector)
        whole = Meta(
            meta.format,
            meta.origin,
            b"a backup",
            meta.boot,
            True,
            keys,
            entries,
            encode_vector(vector),
            origin_changed=meta.origin_changed,
            traced=meta.traced,
        )
        with rs, db:
            copied = _copy(db, part / "db", {}, progress)
            _copy(rs, part / "rs", rs_options, lambda _records: progress(copied), last=(META, encode_meta(whole)))
        sync_directory(part)
        if target.exists():
            target.rmdir()
        part.rename(target)
        (target / _MARK).unlink()
        sync_directory(target)
        sync_directory(target.parent)
    except ENGINE_ERRORS as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StorageError(
            f"the backup to {target} failed ({error_text(error)}): nothing was left there; try again"
        ) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return copied


def _prepare(target: Path, part: Path) -> None:
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} is not empty: give a path that does not exist yet")
        if part.exists():
            if not (part / _MARK).exists():
                raise ConfigError(f"{part} is in the way, and was not made by a backup: move it away")
            shutil.rmtree(part)
        part.mkdir(parents=True)
        (part / _MARK).touch()
    except OSError as error:
        raise ConfigError(f"{error.filename or target}: {error.strerror or error}") from error


def _copy(
    source: Snapshot,
    path: Path,
    options: dict[str, Any],
    progress: Callable[[int], None],
    last: tuple[bytes, bytes] | None = None,
) -> int:
    engine = open_engine(path, **options)
    try:
        copied = 0
        for chunk in _chunks(source.scan()):
            _write(engine, chunk, sync=False)
            copied += len(chunk)
            progress(copied)
        _write(engine, [last] if last is not None else [], sync=True)
    finally:
        engine.close()
    sync_directory(path)
    return copied


def _write(engine: Engine, pairs: list[tuple[bytes, bytes]], *, sync: bool) -> None:
    batch = engine.batch(sync=sync)
    for key, value in pairs:
        batch.put(key, value)
    batch.write()


def _chunks(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in pairs:
        chunk.append((key, value))
        size += len(key) + len(value)
        if size >= _BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
