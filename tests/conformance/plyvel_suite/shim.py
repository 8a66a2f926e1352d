"""The module that plyvel's own tests see as `plyvel`: their DB is a replica."""

import atexit
import os
import shutil
import tempfile
import types
from collections.abc import Callable
from typing import Any

import plyvel

import level_replicator as lrep

_open: list[lrep.Replica | lrep.Client] = []
_sets: dict[str, str] = {}


def make_database(name: Any, **options: Any) -> lrep.Replica:
    """What `plyvel.DB(name, **options)` gives in plyvel's tests; the replication set is kept elsewhere."""
    db = plyvel.DB(name, **options)
    try:
        rs = plyvel.DB(_set_of(os.path.realpath(name)), create_if_missing=True)
        replica = lrep.install(db, rs, {"port": None})
    except BaseException:
        db.close()
        raise
    _open.append(replica)
    return replica


class SuiteClient(lrep.Client):
    """A client that takes its node with it."""

    def __init__(self, replica: lrep.Replica, socket: str) -> None:
        super().__init__(lrep.connect(socket)._backend)
        self._replica = replica

    @property
    def name(self) -> str:
        return self._replica.name  # type: ignore[no-any-return]

    def close(self) -> None:
        super().close()
        self._replica.close()


def make_client(name: Any, **options: Any) -> lrep.Client:
    """The same, used through a Unix socket."""
    db = plyvel.DB(name, **options)
    socket = os.path.join(_set_of(os.path.realpath(name)), "socket")
    try:
        rs = plyvel.DB(_set_of(os.path.realpath(name)), create_if_missing=True)
        replica = lrep.install(db, rs, {"port": None, "socket": socket})
    except BaseException:
        db.close()
        raise
    client = SuiteClient(replica, socket)
    _open.append(client)
    return client


def close_all() -> None:
    """Upstream's tests leave some databases open."""
    while _open:
        _open.pop().close()


def make_shim(make: Callable[..., Any]) -> types.ModuleType:
    shim = types.ModuleType("plyvel")
    shim.__dict__.update({name: value for name, value in vars(plyvel).items() if not name.startswith("__")})
    shim.__leveldb_version__ = plyvel.__leveldb_version__  # type: ignore[attr-defined]
    shim.DB = make  # type: ignore[attr-defined]
    return shim


def _set_of(path: str) -> str:
    if path not in _sets:
        _sets[path] = tempfile.mkdtemp(prefix="plyvel-suite-rs-")
        atexit.register(shutil.rmtree, _sets[path], ignore_errors=True)
    return _sets[path]
