"""LevelDB with eventually consistent master-master replication.

import plyvel
import level_replicator as lrep

db = plyvel.DB("/tmp/db", create_if_missing=True)
rs = plyvel.DB("/tmp/rs", create_if_missing=True)
replica = lrep.install(db, rs, {"servers": {"127.0.0.1:8001": {}}, "port": 8000})
replica.put(b"some-key", b"some-value")
"""

import logging

from level_replicator.core.errors import (
    ClockError,
    ClosedError,
    ConfigError,
    ForkError,
    FormatError,
    LimitError,
    LockedError,
    ReadOnlyError,
    ReplicationError,
    StorageError,
)
from level_replicator.face.changes import Changes
from level_replicator.face.config import Config
from level_replicator.face.install import RS_OPTIONS, install, new_origin, open
from level_replicator.face.keys import fingerprint, generate_pems
from level_replicator.face.replica import Replica
from level_replicator.runtime.identity import PeerIdentity
from level_replicator.runtime.peers import PeerEvent
from level_replicator.storage.changes import Change, Rescan
from level_replicator.storage.comparison import Difference
from level_replicator.storage.conflicts import Version
from level_replicator.storage.verifying import Report

__version__ = "0.1.0"

__all__ = [
    "RS_OPTIONS",
    "Change",
    "Changes",
    "ClockError",
    "ClosedError",
    "Config",
    "ConfigError",
    "Difference",
    "ForkError",
    "FormatError",
    "LimitError",
    "LockedError",
    "PeerEvent",
    "PeerIdentity",
    "ReadOnlyError",
    "Replica",
    "ReplicationError",
    "Report",
    "Rescan",
    "StorageError",
    "Version",
    "fingerprint",
    "generate_pems",
    "install",
    "new_origin",
    "open",
]

logging.getLogger("level_replicator").addHandler(logging.NullHandler())
