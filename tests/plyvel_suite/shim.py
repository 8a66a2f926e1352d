"""The module that plyvel's own tests see as `plyvel`: their DB is ours."""

import types
from typing import Any

import plyvel

from level_replicator.face.database import Database
from tests.face.writers import StraightWriter


def make_database(name: Any, **options: Any) -> Database:
    """What `plyvel.DB(name, **options)` gives in plyvel's tests."""
    db = plyvel.DB(name, **options)
    return Database(db, StraightWriter(db), sync_default=False)


def make_shim() -> types.ModuleType:
    shim = types.ModuleType("plyvel")
    shim.__dict__.update({name: value for name, value in vars(plyvel).items() if not name.startswith("__")})
    shim.__leveldb_version__ = plyvel.__leveldb_version__
    shim.DB = make_database
    return shim
