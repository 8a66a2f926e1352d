"""Only storage/state writes the LevelDBs of a replica and the fields that mirror them, apart from two hot paths."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import level_replicator
from level_replicator.storage.state.state import ReplicationState
from tests.unit.storage.state.test_transaction import ON_DISK

ROOT = Path(level_replicator.__file__).parent
FIELDS = {*ON_DISK, "keys", "entries"}
CHANGES = {"update", "pop", "setdefault", "clear", "popitem"}
"""Methods that change a mapping in place."""
WRITES = {"batch", "put", "delete"}
"""Methods of an engine that write."""
HOT_PATHS = {
    "storage/write/local_writer.py": {"_put_locked", "_account"},
}
"""Written out: tests/unit/storage/write/test_written_out.py compares them with a transaction. (The loop of Merger puts
its records into the batches of a transaction, which commits them.)"""


def is_state(node: ast.expr) -> bool:
    """`state`, `self._state`, `self.state` and the like."""
    return (isinstance(node, ast.Name) and node.id == "state") or (
        isinstance(node, ast.Attribute) and node.attr in ("state", "_state")
    )


def field_of(node: ast.expr) -> str | None:
    """The field in `state.FIELD`, `state.FIELD[...]` and so on."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute) and is_state(node.value) and node.attr in FIELDS:
        return node.attr
    return None


def targets_of(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            nested = targets
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            nested = [target]
        case _:
            nested = []
    flat: list[ast.expr] = []
    while nested:
        each = nested.pop()
        if isinstance(each, ast.Tuple | ast.List):
            nested.extend(each.elts)
        else:
            flat.append(each)
    return flat


def offences(source: str, allowed: Collection[str] = ()) -> Iterator[str]:
    """Places outside of the allowed functions that assign a field, change one in place, or write a LevelDB."""
    stack: list[ast.AST] = [ast.parse(source)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef) and node.name in allowed:
            continue
        stack.extend(ast.iter_child_nodes(node))
        for target in targets_of(node):
            if (name := field_of(target)) is not None:
                yield f"line {target.lineno} assigns {name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, method = node.func.value, node.func.attr
            if method in CHANGES and (name := field_of(owner)) is not None:
                yield f"line {node.lineno} changes {name}"
            if method in WRITES and isinstance(owner, ast.Attribute) and is_state(owner.value):
                yield f"line {node.lineno} writes {owner.attr}"


def test_all_others_use_a_transaction() -> None:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("storage/state/"):
            found[name] = list(offences(path.read_text(), HOT_PATHS.get(name, ())))
    assert {name: places for name, places in found.items() if places} == {}
    assert found.keys() >= HOT_PATHS.keys()


def test_the_fields_are_those_of_the_state() -> None:
    assert set(vars(ReplicationState)["__init__"].__code__.co_names) >= FIELDS


@pytest.mark.parametrize(
    "source",
    [
        "state.vector = {}",
        "self._state.vector[origin] = 1",
        "a, state.floor = 1, 2",
        "del state.resume[1]",
        "state.keys += 1",
        "state.vector.pop(origin)",
        "state.rs.batch()",
        "self._state.db.put(key, value)",
    ],
)
def test_an_offence_is_found(source: str) -> None:
    assert list(offences(source))


def test_what_is_allowed() -> None:
    assert not list(offences("x = state.vector\nstate.newest[1] = 2\ntx.rs.put(a, b)\nengine.batch()"))
    assert not list(offences("def _put_locked(state):\n    state.keys = 1", {"_put_locked"}))
