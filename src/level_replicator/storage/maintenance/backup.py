"""A consistent copy of a live replica.

The copy is a directory like any other: to restore it, put it in the place of the old one and open it. Its
identity is another one, so it goes on as a new origin by itself.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from level_replicator.core.errors import ConfigError, StorageError
from level_replicator.core.version_vector import encode_vector
from level_replicator.storage.engine.base import Engine, Snapshot
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS, open_engine
from level_replicator.storage.state.meta import encode_meta
from level_replicator.storage.state.schema import META
from level_replicator.storage.state.state import ReplicationState

_BATCH_BYTES = 4 * 1024 * 1024
_MARK = "LEVEL-REPLICATOR-BACKUP"
"""Beside what is being copied: it is ours, and may be deleted when it was left behind."""


def backup(
    state: ReplicationState,
    path: str | os.PathLike[str],
    *,
    rs_options: dict[str, Any],
    progress: Callable[[int], None] = lambda keys: None,
) -> int:
    """Copies database and replication set, as of one instant, into `path`/db and `path`/rs. How many keys.

    `path` must not exist, or be empty; there is something there only when the copy is complete and on the disk. Writes
    go on meanwhile. `progress`: told the keys copied. Raises ConfigError, StorageError."""
    target = Path(os.path.abspath(path))
    part = target.with_name(target.name + ".part")
    for own in (state.db.name, state.rs.name):
        if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(own)):
            raise ConfigError(f"{target} is in {own}, which is to be copied: give a path outside of it")
    _prepare(target, part)
    try:
        with state.lock:
            state.check()
            rs, db = state.rs.snapshot(), state.db.snapshot()
            meta, keys, entries, vector = state.meta, state.keys, state.entries, dict(state.vector)
        assert meta is not None
        whole = type(meta)(meta.format, meta.origin, b"a backup", meta.boot, True, keys, entries, encode_vector(vector))
        whole.renewed, whole.traced = meta.renewed, meta.traced
        with rs, db:
            copied = _copy(db, part / "db", {}, progress)
            _copy(rs, part / "rs", rs_options, lambda lines: progress(copied), last=(META, encode_meta(whole)))
        _sync_directory(part)
        if target.exists():
            target.rmdir()
        part.rename(target)
        (target / _MARK).unlink()
        _sync_directory(target)
        _sync_directory(target.parent)
    except ENGINE_ERRORS as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StorageError(f"the backup to {target} failed ({error}): nothing was left there; try again") from error
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
                raise ConfigError(f"{part} is in the way, and no backup of ours: move it away")
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
    _sync_directory(path)
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


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open a directory
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
