"""Invariants that hold at any moment, and promises that hold when all faults have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry, decode_index
from level_replicator.core.merge import order_of_row
from level_replicator.core.records import Change
from level_replicator.storage.maintenance.floors import floors_above
from level_replicator.storage.state.schema import INDEX, LOG, following, log_dot
from tests.simulation.meetings import index_row, row_of
from tests.simulation.truth import Dot, Op, place_of

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World


_SHOWN_BYTES = 12


class Broken(AssertionError):
    """A promise was broken. The text says which."""


def check_node(node: SimNode) -> None:
    """Check that log, index and database of a node agree, and that its clock is not behind any stamp that it knows."""
    assert node.store is not None
    state = node.store._state
    index = {key[1:]: line for key, line in state.rs.scan(INDEX, following(INDEX))}
    log: dict[bytes, tuple[int, int]] = {}
    for key, record in state.rs.scan(LOG, following(LOG)):
        entry = decode_entry(record)
        if entry.key in log:
            raise Broken(f"{node.name}: the log holds {entry.key!r} twice")
        log[entry.key] = log_dot(key)
    dots = {key: INDEX_HEAD.unpack_from(line)[:2] for key, line in index.items()}
    logged = {key: dot for key, dot in dots.items() if state.logged(dot[1], dot[0])}
    if logged != log:
        raise Broken(f"{node.name}: log and index differ: {logged} {log}, floor {state.floor}")
    database = dict(state.db.scan())
    live = {key: line for key, line in index.items() if not INDEX_HEAD.unpack_from(line)[2] & DELETE}
    if database.keys() != live.keys():
        raise Broken(f"{node.name}: the database has {database.keys()}, the index {live.keys()}")
    for key, value in database.items():
        if crc32(value) != INDEX_HEAD.unpack_from(live[key])[3]:
            raise Broken(f"{node.name}: the value of {key!r} is not the one of the index")
    if node.store.keys != len(live) or node.store.entries != len(log):
        raise Broken(f"{node.name}: counts {node.store.keys}, {node.store.entries} are not {len(live)}, {len(log)}")
    above = {origin for origin, stamp in state.horizon.items() if stamp > state.vector.get(origin, 0)}
    if above:
        raise Broken(f"{node.name}: the horizon {state.horizon} is above the vector {state.vector}")
    known = [*state.vector.values(), *state.horizon.values(), state.dropped]
    newest = max([*known, *(stamp for stamp, _ in dots.values())])
    if state.clock.last < newest:
        raise Broken(f"{node.name}: the clock is behind what the node knows")


def check_vector(world: World, node: SimNode) -> None:
    """Check that each write that the vector covers, or a greater one, is there, unless tombstones are dropped."""
    assert node.store is not None
    if world.plan.drops:
        return
    state = node.store._state
    for op in world.truth.ops:
        dot = op.dot(state.branches)
        if not op.certain or not op.is_covered(node.store):
            continue
        row = index_row(node, op.key)
        # after a power loss a value whose entry is lost takes the name of the write that it had replaced
        if row is None or (row.written_dot != dot and order_of_row(row)[:-1] < place_of(dot, op.value)):
            raise Broken(f"{node.name}: the vector covers {dot} of {op.key!r}, the index does not")


def _differences(contents: dict[str, dict[bytes, bytes]]) -> dict[bytes, dict[str, bytes | None]]:
    """Returns the keys whose value is not the same on all nodes, with the beginning of each node's value."""
    keys = sorted(set().union(*contents.values()))
    values = {key: {name: content.get(key) for name, content in contents.items()} for key in keys}
    return {
        key: {name: None if value is None else value[:_SHOWN_BYTES] for name, value in by_node.items()}
        for key, by_node in values.items()
        if len(set(by_node.values())) > 1
    }


def check_converged(world: World) -> None:
    """Check that all nodes have the same contents, and the right ones."""
    contents = {}
    vectors = {}
    for node in world.nodes.values():
        assert node.store is not None
        contents[node.name] = dict(node.store._state.db.scan())
        vectors[node.name] = dict(node.store.vector)
        check_node(node)
        check_vector(world, node)
        if floors_above(node.store._state) or node.store.bulk_load_incomplete:
            raise Broken(f"{node.name}: the floor {node.store.floor} is above the vector, or a bulk load is incomplete")
    first = next(iter(contents.values()))
    if any(content != first for content in contents.values()):
        raise Broken(f"diverged: {_differences(contents)}")
    if any(vector != next(iter(vectors.values())) for vector in vectors.values()):
        raise Broken(f"vectors differ: {vectors}")
    state = next(iter(world.nodes.values())).store._state  # type: ignore[union-attr]
    for key in world.truth.by_key:
        line = state.rs.get(INDEX + key)
        written = (0, 0) if line is None else decode_index(line).written_dot
        wrong = world.truth.broken(key, first.get(key), written, state.branches, drops=world.plan.drops)
        if wrong:
            raise Broken(wrong)


def check_conflicts(world: World) -> None:
    """Check that each reported conflict was one, and that each conflict that had to be reported was reported."""
    if world.forked:
        return  # excused: reports name writes as they were called when they met, and branches have been renamed since
    reported = _check_reports(world)
    _check_meetings(world, reported)
    _check_lost_writes(world, reported)


Reported = set[tuple[str, Op]]
"""Node, and the loser that it reported."""


def _check_reports(world: World) -> Reported:
    """Check that each reported conflict was one, with the values that were written. Return the reported losers.

    Excused: nodes that have lost writes in a power loss, a restore or a copy."""
    reported: Reported = set()
    for name, conflict in world.conflicts:
        loser, winner = (_op_of(world, conflict.key, _dot(each)) for each in (conflict.loser, conflict.winner))
        if loser is None:
            continue
        reported.add((name, loser))
        if not _is_known(world, loser):
            continue
        renamed = world.faults["power_loss"]  # a value whose entry is lost takes the name of the write that it replaced
        # a write that was buried is reported as a delete
        if conflict.loser.value not in (loser.value, None) and not renamed:
            raise Broken(f"{name}: a conflict with {conflict.loser.value!r} in place of {loser.value!r}")
        if winner is None or world.plan.drops or not _is_known(world, winner):
            continue
        if loser in winner.surely_seen or winner in loser.surely_seen:
            raise Broken(f"{name}: {loser.written} of {conflict.key!r} was overwritten, and reported as a conflict")
    return reported


def _check_meetings(world: World, reported: Reported) -> None:
    """Check that two writes that met on a node, neither of which had seen the other, were reported there.

    Excused: if one of the two was re-stamped, it is enough that any node reported the lost value, or that the winner
    had seen another write of that value, with which the lost one may have been merged before."""
    overwritten = _overwritten(world)
    by_anybody = {(op.key, op.value) for _, op in reported}
    for name, key, row, arrived, restamped in world.meetings.met:
        loser, winner = (_op_of(world, key, dot) for dot in sorted((row, arrived)))
        if (
            name not in world.nodes
            or name in world.meetings.lossy
            or loser is None
            or winner is None
            or loser is winner
        ):
            continue
        if loser.value == winner.value:
            continue  # nothing is lost
        if restamped and any(each.value == loser.value for each in winner.seen):
            continue
        if restamped and ((loser.key, loser.value) in by_anybody or world.meetings.lossy or world.plan.gone):
            continue
        if loser not in overwritten and (name, loser) not in reported:
            raise Broken(f"{name}: {row} and {arrived} of {key!r} met there, and it did not report the conflict")


def _check_lost_writes(world: World, reported: Reported) -> None:
    """Check that each lost write that was not overwritten knowingly was reported as a conflict.

    It was the row of its key on its own node until a write arrived that had not seen it. Excused: writes of a node that
    has disappeared for good, perhaps with an unreported conflict on its disk."""
    if world.plan.drops:
        return
    losers = {op for _, op in reported}
    overwritten = _overwritten(world)
    for node in world.nodes.values():
        for key, ops in world.truth.by_key.items():
            standing = row_of(node, key)
            for op in ops:
                gone = standing != op.written and op not in overwritten and _is_known(world, op)
                # of two writes of one value, or two deletes, none is lost
                same = any(each.value == op.value and each.written > op.written for each in ops)
                excused = op.node in world.meetings.lossy or op.node == world.plan.gone
                if gone and not same and not excused and op not in losers:
                    raise Broken(f"{op.written} of {key!r} lost a conflict that nobody reported")


def _overwritten(world: World) -> frozenset[Op]:
    """Return the writes that were overwritten by a write that had seen them."""
    return frozenset().union(*(op.seen for op in world.truth.ops))


def _dot(change: Change) -> Dot:
    return change.stamp, int(change.origin, 16)


def _op_of(world: World, key: bytes, dot: Dot) -> Op | None:
    return next((op for op in world.truth.by_key.get(key, []) if dot == op.written), None)


def _is_known(world: World, op: Op) -> bool:
    """Return whether it is certain that the write was there."""
    return op.certain
