"""The database for coroutines: see level_replicator.client.aio.database."""

from level_replicator.client.aio.changes import AsyncChanges
from level_replicator.client.aio.database import AsyncBatch, AsyncDatabase, AsyncPrefixedDB, connect, wrap
from level_replicator.client.aio.iterators import AsyncIterator, AsyncRawIterator, AsyncSnapshot

__all__ = [
    "AsyncBatch",
    "AsyncChanges",
    "AsyncDatabase",
    "AsyncIterator",
    "AsyncPrefixedDB",
    "AsyncRawIterator",
    "AsyncSnapshot",
    "connect",
    "wrap",
]
