"""A replica, a client, and their asyncio shapes have the same methods, with the same arguments and defaults.

`DIFFERENCES` lists every exception with its reason; an entry that no longer applies fails as well."""

import inspect
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator.client.iterators import RemoteIterator, RemoteRawIterator, RemoteSnapshot
from level_replicator.database.batch import WriteBatch
from level_replicator.database.iterators import Iterator, RawIterator, Snapshot
from level_replicator.database.prefixed import PrefixedDB

SHAPES: dict[str, list[type]] = {
    "database": [lrep.Replica, lrep.Client, lrep.SharedDatabase, lrep.aio.AsyncDatabase],
    "prefixed": [PrefixedDB, lrep.aio.AsyncPrefixedDB],
    "batch": [WriteBatch, lrep.aio.AsyncBatch],
    "iterator": [Iterator, RemoteIterator, lrep.aio.AsyncIterator],
    "raw iterator": [RawIterator, RemoteRawIterator, lrep.aio.AsyncRawIterator],
    "snapshot": [Snapshot, RemoteSnapshot, lrep.aio.AsyncSnapshot],
    "changes": [lrep.Changes, lrep.RemoteChanges, lrep.aio.AsyncChanges],
}
ITEM_NAMES = {"__contains__", "__getitem__", "__setitem__", "__delitem__"}
ASYNC_NAMES = {"__aiter__": "__iter__", "__anext__": "__next__", "__aenter__": "__enter__", "__aexit__": "__exit__"}

_OF_THE_NODE = "a property of the node itself; clients find it in status()"
_AWAITED = "an operator cannot await: `in` raises a TypeError that names the call, the others do not exist"
_BOUNDED = "a node bounds the size of its answers"
_NO_CONSTRUCTOR = "a constructor cannot await: without `start`, the feed begins when it is first read"
DIFFERENCES: dict[tuple[str, str], str] = {
    ("Client", "address"): _OF_THE_NODE,
    ("Client", "metrics_address"): _OF_THE_NODE,
    ("Client", "origin"): _OF_THE_NODE,
    ("SharedDatabase", "address"): _OF_THE_NODE,
    ("SharedDatabase", "metrics_address"): _OF_THE_NODE,
    ("SharedDatabase", "origin"): _OF_THE_NODE,
    ("SharedDatabase", "holder"): "only processes that share a database have a holder",
    ("AsyncDatabase", "address"): _OF_THE_NODE,
    ("AsyncDatabase", "metrics_address"): _OF_THE_NODE,
    ("AsyncDatabase", "origin"): _OF_THE_NODE,
    **{
        (kind, name): _AWAITED
        for kind, names in (
            ("AsyncDatabase", ITEM_NAMES),
            ("AsyncPrefixedDB", ITEM_NAMES),
            ("AsyncSnapshot", {"__contains__", "__getitem__"}),
        )
        for name in sorted(names)
    },
    ("AsyncDatabase", "write"): "a batch in one await, without the batch object",
    ("Client", "history"): _BOUNDED,
    ("SharedDatabase", "history"): _BOUNDED,
    ("AsyncDatabase", "history"): _BOUNDED,
    ("AsyncIterator", "aclose"): "contextlib.aclosing calls it",
    ("AsyncChanges", "start"): _NO_CONSTRUCTOR,
    ("AsyncChanges", "end"): "the database ends its feeds without requests",
}
NOT_AWAITED = {
    # they send nothing, or wait for nothing
    "database": {"write_batch", "iterator", "raw_iterator", "prefixed_db", "changes", "__iter__", "__contains__"},
    "prefixed": {"write_batch", "iterator", "prefixed_db", "__iter__", "__contains__"},
    "batch": {"put", "delete", "clear", "append", "approximate_size", "__setitem__", "__delitem__"},
    "iterator": {"seek", "seek_to_start", "seek_to_stop", "close", "__iter__"},
    "raw iterator": {"valid", "key", "value", "item", "close"},
    "snapshot": {"iterator", "raw_iterator", "close", "release", "__iter__", "__contains__"},
    "changes": {"__iter__", "end"},
}


def members(kind: type) -> dict[str, Any]:
    """The public methods and properties, by their synchronous names."""
    found = {}
    for name in dir(kind):
        name_here = ASYNC_NAMES.get(name, name)
        if not name.startswith("_") or name_here in ASYNC_NAMES.values() or name in ITEM_NAMES:
            found[name_here] = inspect.getattr_static(kind, name)
    return found


def parameters(member: Any) -> object:
    """Names, kinds, defaults and types of all arguments; or what it is, if it is no function."""
    if not inspect.isfunction(member):
        return type(member)
    return [
        (each.name, each.kind, each.default, str(each.annotation).removeprefix("typing."))
        for each in list(inspect.signature(member).parameters.values())[1:]
    ]


CASES = [(group, other) for group, shapes in SHAPES.items() for other in shapes[1:]]


def _ids(case: Any) -> str:
    return case.__name__ if isinstance(case, type) else case


@pytest.mark.parametrize(("group", "other"), CASES, ids=_ids)
def test_the_same_names(group: str, other: type) -> None:
    ours, theirs = members(SHAPES[group][0]), members(other)
    allowed = {name for kind, name in DIFFERENCES if kind == other.__name__}
    assert (ours.keys() ^ theirs.keys()) <= allowed


@pytest.mark.parametrize(("group", "other"), CASES, ids=_ids)
def test_the_same_arguments(group: str, other: type) -> None:
    ours, theirs = members(SHAPES[group][0]), members(other)
    for name in ours.keys() & theirs.keys():
        if name == "__exit__" or (other.__name__, name) in DIFFERENCES:
            continue
        assert parameters(theirs[name]) == parameters(ours[name]), f"{other.__name__}.{name}"


@pytest.mark.parametrize(("group", "other"), [case for case in CASES if case[1].__name__.startswith("Async")], ids=_ids)
def test_a_coroutine_where_something_is_awaited(group: str, other: type) -> None:
    for name, member in members(other).items():
        if inspect.isfunction(member):
            assert inspect.iscoroutinefunction(member) == (name not in NOT_AWAITED[group]), f"{other.__name__}.{name}"


def test_every_difference_is_still_one() -> None:
    by_name = {kind.__name__: (group, kind) for group, shapes in SHAPES.items() for kind in shapes}
    for kind_name, name in DIFFERENCES:
        group, kind = by_name[kind_name]
        ours, theirs = members(SHAPES[group][0]).get(name), members(kind).get(name)
        if ours is not None and theirs is not None:
            assert parameters(ours) != parameters(theirs), f"{kind_name}.{name}"
        else:
            assert (ours is None) != (theirs is None), f"{kind_name}.{name}"


def test_errors_name_the_class_that_was_expected() -> None:
    """`append` takes batches of its own kind only, and says so."""
    with pytest.raises(TypeError, match="expected AsyncBatch, got WriteBatch"):
        lrep.aio.AsyncBatch.append(_batch(lrep.aio.AsyncBatch), _batch(WriteBatch))


class _Open:
    shut = False

    def refuse(self) -> None:
        raise AssertionError

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)


def _batch(kind: type) -> Any:
    return kind(_Open(), lambda _operations: None, b"", False)
