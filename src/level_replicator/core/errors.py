"""The exceptions of the library.

The text of each error names the cause and the remedy. An exception that replaces one of plyvel also derives from the
built-in type that plyvel raises there, so that `except RuntimeError` around a closed database keeps working.
"""


class ReplicationError(Exception):
    """Base class of all exceptions that this library defines."""


class ConfigError(ReplicationError, ValueError):
    """The configuration, or the object that it was applied to, is invalid: an unknown key, an invalid port, a server
    that is this node itself, one directory for two databases."""


class LockedError(ReplicationError):
    """The LevelDB is already open, in this process or in another one."""


class ClosedError(ReplicationError, RuntimeError):
    """The replica, batch, snapshot or iterator is closed."""


class ConnectionLostError(ReplicationError, ConnectionError):
    """The node that a client uses cannot be reached, or the connection to it was lost. A write that was in progress may
    or may not have been applied: read the key, or write it again."""


class ForkError(ReplicationError, RuntimeError):
    """A forked child used the replica of its parent, which LevelDB does not support. Open a replica in the child."""


class ReadOnlyError(ReplicationError):
    """Writes are refused: the replica is configured with `pull_only`, or the client may only read."""


class LimitError(ReplicationError, ValueError):
    """A key, value or batch is larger than `level_replicator.core.limits` allows."""


class StorageError(ReplicationError):
    """A LevelDB failed, or contains invalid data. The replica refuses further writes; acknowledged data stays readable.
    The text says how to recover."""


class FormatError(ReplicationError):
    """The replication set was written by an unknown version of this library."""


class RemoteProtocolError(ReplicationError):
    """The peer violated the protocol. Its connection is closed; nothing of the offending frame was applied.

    `code` is a `level_replicator.protocol.messages.ByeCode`, which is sent to the peer with the `Bye` message."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ReplicationError):
    """The session was used incorrectly: a bug in this library, never caused by the peer."""


class ClockError(ReplicationError):
    """The local clock shows a time that does not fit into a stamp. Correct the clock and try again."""
