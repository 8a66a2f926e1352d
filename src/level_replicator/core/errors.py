"""The named errors of the library, few on purpose.

Every error says what happened and what to do about it. Those that replace an error of plyvel
are also of the built-in kind that plyvel raises there, so that `except RuntimeError` around a
closed database goes on working.
"""


class ReplicationError(Exception):
    """Base of every error that this library raises by itself."""


class ConfigError(ReplicationError, ValueError):
    """The configuration, or what it was applied to, cannot work: unknown key, bad port, a server
    that is oneself, one directory for two databases."""


class LockedError(ReplicationError):
    """Another handle, in this process or another one, holds the LevelDB."""


class ClosedError(ReplicationError, RuntimeError):
    """The replica, batch, snapshot or iterator was closed before this call."""


class ConnectionLostError(ReplicationError, ConnectionError):
    """The node that a client uses cannot be reached, or went away. A write that was under way may have been done or
    not: read, or write it again."""


class ForkError(ReplicationError, RuntimeError):
    """A forked child used its parent's replica. LevelDB does not survive that: open one of its own."""


class ReadOnlyError(ReplicationError):
    """This replica was configured with `pull_only`: it takes what its peers write, and no writes of its own. Or this
    client may read only."""


class LimitError(ReplicationError, ValueError):
    """A key, value or batch is larger than `level_replicator.core.limits` allows."""


class StorageError(ReplicationError):
    """A LevelDB failed or holds what it should not. The replica takes no more writes; what was
    acknowledged stays readable. The text says how to recover."""


class FormatError(ReplicationError):
    """The replication set was written by another, unknown version of this library."""


class RemoteProtocolError(ReplicationError):
    """The peer broke the protocol. Its connection is cut; nothing of the offending frame was applied.

    `code` is one of `level_replicator.protocol.messages.ByeCode`, sent to the peer in the farewell."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ReplicationError):
    """This library used its own session wrongly: a bug here, never the peer's doing."""


class ClockError(ReplicationError):
    """The local clock gives a time that a stamp cannot hold. Set the clock and try again."""
