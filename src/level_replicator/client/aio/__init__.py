"""The same verbs as coroutines: see level_replicator.client.aio.database."""

from level_replicator.client.aio.database import (
    AsyncBatch,
    AsyncChanges,
    AsyncDatabase,
    AsyncSnapshot,
    connect,
    wrap,
)

__all__ = ["AsyncBatch", "AsyncChanges", "AsyncDatabase", "AsyncSnapshot", "connect", "wrap"]
