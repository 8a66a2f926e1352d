"""Turns a LevelDB into a replicated node: `install`, `open` and `new_origin`.

This module and `shared.py` are the only ones that wire all layers together.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, Literal, overload

from level_replicator.api.callbacks import Callbacks
from level_replicator.api.config import Config
from level_replicator.api.field_checks import check_names
from level_replicator.api.keys import load_security
from level_replicator.api.monitoring.server import MetricsServer
from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import RequestHandler, open_request_handler
from level_replicator.client.connect import SOCKET_NAME
from level_replicator.core.errors import ConfigError, LockedError
from level_replicator.core.limits import CLIENT_TIMEOUT_S
from level_replicator.leveldb import DB_CLASSES, plyvel
from level_replicator.net.addresses import parse_address
from level_replicator.net.unix_socket import HAS_UNIX_SOCKETS, MAX_PATH_BYTES
from level_replicator.node.client_registry import ClientAccess
from level_replicator.node.maintenance_thread import MaintenanceThread
from level_replicator.node.node import Node
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.reloader import CredentialReloader
from level_replicator.shared import SharedBackend, SharedDatabase
from level_replicator.storage.engine.boot_id import boot_identity
from level_replicator.storage.engine.leveldb_files import is_leveldb
from level_replicator.storage.engine.plyvel import PlyvelEngine, open_engine
from level_replicator.storage.state.meta import NEW_ORIGIN_REQUESTED, load_meta, store_meta
from level_replicator.storage.store import Store

RS_OPTIONS: dict[str, Any] = {"bloom_filter_bits": 10, "write_buffer_size": 8 * 1024 * 1024}
"""Options with which `open` opens a replication set. Most keys that are looked up in it do not exist, which the bloom
filter answers without a read. The write buffer is a compromise: a larger one is compacted less often, and inserts into
a smaller one are faster."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def install(
    db: plyvel.DB,
    rs: plyvel.DB,
    config: Config | Mapping[str, Any] | None = None,
    *,
    adopt: bool = False,
    progress: Callable[[int], None] | None = None,
    _wall_ms: Callable[[], int] = _wall_ms,
    _on_step: Callable[[str], None] | None = None,
) -> Replica:
    """Replicate `db`, a LevelDB, with its peers. `rs`, another LevelDB, becomes its replication set.

    All writes must go through the replica that this returns. It owns both handles and closes them.

    adopt     make the data that `db` already contains the first writes of this node, before this returns. An adoption
              that was interrupted continues at the next `install` with `adopt`. If there is nothing to adopt, this does
              nothing
    progress  called with the number of keys that were adopted so far; an error that it raises ends the adoption

    Raises ConfigError (also for a port in use, two handles on one directory, or a `db` with data and a new `rs`),
    LockedError, FormatError and StorageError. Then both handles are still open, and the caller's."""
    settings = Config.of(config)
    return _checked(db, rs, settings, load_security(settings), adopt, progress, _wall_ms, _on_step)


def _checked(
    db: plyvel.DB,
    rs: plyvel.DB,
    settings: Config,
    security: tuple[NodeSecurity | None, CredentialReloader | None],
    adopt: bool,
    progress: Callable[[int], None] | None,
    wall_ms: Callable[[], int],
    on_step: Callable[[str], None] | None,
) -> Replica:
    """Check both handles and hold their directories; after an error both handles are the caller's again."""
    for name, handle in (("db", db), ("rs", rs)):
        if not isinstance(handle, DB_CLASSES):
            raise ConfigError(f"{name}: expected an open plyvel.DB or plyvel_next.DB, not {type(handle).__name__}")
        if handle.closed:
            raise ConfigError(f"{name}: this handle is closed: expected an open plyvel.DB")
    if _directory(db) == _directory(rs):
        raise ConfigError(f"db and rs are both {_directory(db)}: the replication set needs a directory of its own")
    engines = PlyvelEngine(db, add_file=False), PlyvelEngine(rs)
    try:
        for engine in engines:
            engine.hold()
        if adopt and settings.pull_only:
            raise ConfigError(
                "adopt: adopted keys become local writes, which `pull_only` refuses: use one of the two settings"
            )
        adopting = _mark_errors(progress or _ignore_progress) if adopt else None
        return _install(*engines, settings, security, adopting, wall_ms, on_step)
    except BaseException as error:
        for engine in engines:
            engine.release()
        if isinstance(error, _ProgressError):
            raise error.raised from None
        raise


def _install(
    db: PlyvelEngine,
    rs: PlyvelEngine,
    config: Config,
    security: tuple[NodeSecurity | None, CredentialReloader | None],
    adopt: Callable[[int], None] | None,
    wall_ms: Callable[[], int],
    on_step: Callable[[str], None] | None,
) -> Replica:
    """Open the stores, wire all layers together, and start the replica.

    The parts below are constructed first and refer to those above by functions. They call them only after the replica,
    the last part, has started them."""

    def open_handler(*, read_only: bool, local: bool) -> RequestHandler:
        return open_request_handler(replica, read_only=read_only, local=local)

    with ExitStack() as undo:
        metrics = None
        if config.metrics is not None:
            where = config.metrics
            metrics = MetricsServer(
                *(("127.0.0.1", where) if isinstance(where, int) else parse_address(where)),
                status=lambda: replica.status(),
                check_alive=lambda: replica._check_alive(),
            )
            undo.callback(metrics.close)
        store = Store(
            db,
            rs,
            now_ms=wall_ms,
            random_bytes=secrets.token_bytes,
            boot=boot_identity(),
            sync=config.sync,
            adopt=adopt,
            on_step=on_step,
            on_written=lambda: node.local_change(),
        )
        # without this the next open would see an unclean stop, and after a reboot a power loss
        undo.callback(store.release)
        callbacks = Callbacks(
            store, config, open_feed=lambda: replica.changes(now=True), is_closing=lambda: replica.closed
        )
        undo.callback(callbacks.close)
        undo.callback(callbacks.stop_conflicts)
        node = Node(
            store,
            host=config.host,
            port=config.port,
            servers={address: parse_address(address) for address in config.servers},
            names={address: metadata["name"] for address, metadata in config.servers.items() if "name" in metadata},
            insecure=config.insecure,
            max_drift_ms=int(config.max_clock_drift * 1000),
            heartbeat_ms=int(config.heartbeat * 1000),
            wall_ms=wall_ms,
            instance=secrets.token_bytes(16),
            random=Random(secrets.token_bytes(16)),
            on_event=callbacks.peer_event,
            open_request_handler=open_handler,
            read_only=[address for address, metadata in config.servers.items() if metadata.get("read_only")],
            security=security[0],
            keys=security[1],
            access=ClientAccess(config.clients),
            socket_path=Path(config.socket) if isinstance(config.socket, str | PathLike) else None,
        )
        maintenance = MaintenanceThread(
            store,
            wall_ms=wall_ms,
            log_max_bytes=config.log_max_bytes,
            log_max_age_s=config.log_max_age,
            tombstone_ttl_s=config.tombstone_ttl,
        )
        replica = Replica(db.db, rs.db, node, maintenance, config, callbacks, RS_OPTIONS, metrics)
        replica._start()
        undo.pop_all()
    return replica


def _ignore_progress(_keys: int) -> None:
    """Default of `progress`: does nothing."""


class _ProgressError(Exception):
    """An error that the caller's progress function raised."""

    def __init__(self, raised: Exception) -> None:
        self.raised = raised


def _mark_errors(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Wrap a progress function, so that an OSError which it raises is not mistaken for an error of the disk."""

    def marked(keys: int) -> None:
        try:
            progress(keys)
        except Exception as error:
            raise _ProgressError(error) from None

    return marked


@overload
def open(
    path: "str | bytes | PathLike[str]",
    config: Config | Mapping[str, Any] | None = None,
    *,
    share: Literal[False] = False,
    adopt: bool = False,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Replica: ...


@overload
def open(
    path: "str | bytes | PathLike[str]",
    config: Config | Mapping[str, Any] | None = None,
    *,
    share: Literal[True],
    adopt: bool = False,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> SharedDatabase: ...


def open(
    path: "str | bytes | PathLike[str]",
    config: Config | Mapping[str, Any] | None = None,
    *,
    share: bool = False,
    adopt: bool = False,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Replica | SharedDatabase:
    """Open `path`/db and `path`/rs, which are created if missing, and install.

    `options` are those of plyvel.DB for `db`. With `create_if_missing=False` both directories must exist, unless
    `adopt` creates the replication set. Settings of the replica go into `config`.

    With `share` several processes can open the same path: the first one holds the database, the others use it through
    its Unix socket, and one of them takes over when the holder ends. The configuration of the holder applies.

    Raises as `install`; ConfigError too if `path` is itself a LevelDB, or for unknown options; LockedError if another
    process or handle has one of the two LevelDBs open; StorageError if one of them has lost its file CURRENT."""
    settings = Config.of(config)
    root = Path(os.fsdecode(path))
    _check_options(options)
    _check_root(root)
    if share and not HAS_UNIX_SOCKETS:
        raise ConfigError("share: the processes connect through a Unix socket, and this system has no Unix sockets")
    if settings.socket is None:
        beside = root / SOCKET_NAME
        fits = HAS_UNIX_SOCKETS and len(os.fsencode(beside)) <= MAX_PATH_BYTES
        if share and not fits:
            raise ConfigError(f"share: {beside} is too long for a Unix socket: set another path as `socket`")
        settings = replace(settings, socket=beside if fits else False)
    if not share:
        return _open(root, settings, adopt, progress, options)
    if not isinstance(settings.socket, str | PathLike):
        raise ConfigError(
            "share: `socket` is False, but the processes share a Unix socket: set a path, or leave it out"
        )
    return SharedDatabase(
        SharedBackend(
            root,
            Path(settings.socket),
            lambda: _open(root, settings, adopt, progress, options),
            CLIENT_TIMEOUT_S,
        )
    )


def _open(
    root: Path, settings: Config, adopt: bool, progress: Callable[[int], None] | None, options: dict[str, Any]
) -> Replica:
    security = load_security(settings)
    if options.get("create_if_missing") is False:
        _check_existing(root, adopt=adopt)
    db_options = {name: value for name, value in options.items() if name != "create_if_missing"}
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{root}: {getattr(error, 'strerror', None) or error}") from error
    try:
        db = open_engine(str(root / "db"), **db_options)
    except LockedError as error:
        if isinstance(settings.socket, str | PathLike) and Path(settings.socket).is_socket():
            raise LockedError(
                f"{error}. To use it from here too: level_replicator.connect({str(root)!r}), or open(share=True)"
            ) from error
        raise
    try:
        rs = open_engine(str(root / "rs"), **RS_OPTIONS)
    except BaseException:
        db.close()
        raise
    try:
        return _checked(db.db, rs.db, settings, security, adopt, progress, _wall_ms, None)
    except BaseException:
        rs.close()
        db.close()
        raise


_SETTINGS = frozenset(field.name for field in fields(Config))
_OPTIONS = (
    "create_if_missing",
    "error_if_exists",
    "paranoid_checks",
    "write_buffer_size",
    "max_open_files",
    "lru_cache_size",
    "block_size",
    "block_restart_interval",
    "max_file_size",
    "compression",
    "bloom_filter_bits",
    "comparator",
    "comparator_name",
)
"""The options of plyvel.DB."""


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option of `open` that plyvel.DB does not have."""
    for name, value in options.items():
        if name in _SETTINGS:
            example = f"{{{name!r}: {value!r}}}" if isinstance(value, int) else f"{{{name!r}: ...}}"
            raise ConfigError(
                f"{name}: this is a setting of the replica: settings go into the second argument: open(path, {example})"
            )
    check_names(options, _OPTIONS, "open: unknown option")
    create = options.get("create_if_missing", True)
    if not isinstance(create, bool):
        raise ConfigError(f"create_if_missing: {create!r} is not a bool: expected True or False")


def _check_root(root: Path) -> None:
    """Raise ConfigError if the directory is itself a LevelDB: a new database inside of it would hide its data."""
    if not is_leveldb(root):
        return
    parent = root.absolute().parent
    if root.name in ("db", "rs") and is_leveldb(parent / "db") and is_leveldb(parent / "rs"):
        raise ConfigError(f"{root} belongs to the replica in {parent}: open that directory")
    raise ConfigError(
        f"{root} is itself a LevelDB, and `open` expects a directory that contains one as `db`. To replicate this one"
        f" call install(plyvel.DB({str(root)!r}), rs, adopt=True) with a plyvel.DB in another directory as rs, or first"
        f" run `level-replicator adopt {root} --rs RS`"
    )


def _check_existing(root: Path, *, adopt: bool) -> None:
    """Raise ConfigError if a directory that `open` would create is missing."""
    for path in (root / "db", root / "rs"):
        if not is_leveldb(path) and not (adopt and path.name == "rs"):
            raise ConfigError(
                f"{path} does not exist, and `create_if_missing` is False: check the path, or leave the option out to"
                " create a new replica"
            )


def new_origin(rs: plyvel.DB) -> None:
    """Let a replica start under a new origin at its next `install`. `rs` is its replication set.

    Use this for one of two live nodes that have the same origin because a directory was copied and the copy was not
    detected. Raises ConfigError if `rs` is not a replication set, LockedError if a replica has it installed."""
    engine = PlyvelEngine(rs)
    engine.hold()
    try:
        meta = load_meta(engine)
        if meta is None:
            raise ConfigError(f"{_directory(rs)} is not a replication set")
        meta.identity = NEW_ORIGIN_REQUESTED
        store_meta(engine, meta)
    finally:
        engine.release()


def _directory(handle: plyvel.DB) -> str:
    name = handle.name
    return os.path.realpath(os.fsdecode(name))
