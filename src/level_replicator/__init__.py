"""LevelDB with eventually consistent master-master replication.

import plyvel
import level_replicator as lrep

db = plyvel.DB("/tmp/db", create_if_missing=True)
rs = plyvel.DB("/tmp/rs", create_if_missing=True)
replica = lrep.install(db, rs, {"servers": {"127.0.0.1:8001": {}}, "port": 8000})
replica.put(b"some-key", b"some-value")
"""

import logging

from level_replicator.api.changes import Changes
from level_replicator.api.config import Config
from level_replicator.api.keys import fingerprint, generate_pems
from level_replicator.api.replica import Replica
from level_replicator.api.status import PeerStatus, Status
from level_replicator.client import aio
from level_replicator.client.changes import RemoteChanges
from level_replicator.client.connect import Client, connect
from level_replicator.core.errors import (
    ClockError,
    ClosedError,
    ConfigError,
    ConnectionLostError,
    ForkError,
    FormatError,
    LimitError,
    LockedError,
    ReadOnlyError,
    ReplicationError,
    StorageError,
)
from level_replicator.core.records import Change, Rescan
from level_replicator.install import RS_OPTIONS, install, new_origin, open
from level_replicator.replication.peers import PeerEvent
from level_replicator.security.peer_identity import PeerIdentity
from level_replicator.shared import SharedDatabase
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

__version__ = "0.1.0"

Version = Change
"""Earlier name of the record of a write that `on_conflict` receives."""

__all__ = [
    "RS_OPTIONS",
    "Change",
    "Changes",
    "Client",
    "ClockError",
    "ClosedError",
    "Config",
    "ConfigError",
    "ConnectionLostError",
    "Difference",
    "ForkError",
    "FormatError",
    "LimitError",
    "LockedError",
    "PeerEvent",
    "PeerIdentity",
    "PeerStatus",
    "ReadOnlyError",
    "RemoteChanges",
    "Replica",
    "ReplicationError",
    "Report",
    "Rescan",
    "SharedDatabase",
    "Status",
    "StorageError",
    "Version",
    "aio",
    "connect",
    "fingerprint",
    "generate_pems",
    "install",
    "new_origin",
    "open",
]

logging.getLogger("level_replicator").addHandler(logging.NullHandler())
