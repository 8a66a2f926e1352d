"""The module that the tests of plyvel or plyvel_next import under its name: their DB is a replica."""

import atexit
import os
import shutil
import tempfile
import types
from functools import partial
from typing import Any, Protocol

import level_replicator as lrep

_open: list[lrep.Replica | lrep.Client] = []
_sets: dict[str, str] = {}


class MakeDatabase(Protocol):
    """Makes the object that the tests take for `plyvel.DB(name, **options)`."""

    def __call__(self, binding: types.ModuleType, name: Any, **options: Any) -> Any: ...


def make_database(binding: types.ModuleType, name: Any, **options: Any) -> lrep.Replica:
    """A replica in place of `plyvel.DB(name, **options)`; the replication set is kept elsewhere."""
    db = binding.DB(name, **options)
    try:
        rs = binding.DB(_set_of(os.path.realpath(name)), create_if_missing=True)
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


def make_client(binding: types.ModuleType, name: Any, **options: Any) -> lrep.Client:
    """A client of such a replica, through a Unix socket."""
    db = binding.DB(name, **options)
    socket = os.path.join(_set_of(os.path.realpath(name)), "socket")
    try:
        rs = binding.DB(_set_of(os.path.realpath(name)), create_if_missing=True)
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


def make_shim(binding: types.ModuleType, make: MakeDatabase) -> types.ModuleType:
    """A copy of the binding whose DB is made by `make`."""
    shim = types.ModuleType(binding.__name__)
    public = {name: value for name, value in vars(binding).items() if not name.startswith("__")}
    made = {"DB": partial(make, binding), "__leveldb_version__": binding.__leveldb_version__}
    vars(shim).update(public | made)
    return shim


def _set_of(path: str) -> str:
    if path not in _sets:
        _sets[path] = tempfile.mkdtemp(prefix="plyvel-suite-rs-")
        atexit.register(shutil.rmtree, _sets[path], ignore_errors=True)
    return _sets[path]
