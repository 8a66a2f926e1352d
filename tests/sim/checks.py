"""What must hold at any moment, and what must hold when everything has healed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from level_replicator.core.entry import DELETE, INDEX_HEAD, decode_entry, decode_index
from level_replicator.core.keys import INDEX, LOG, following, log_dot
from level_replicator.storage.floors import floors_above

if TYPE_CHECKING:
    from tests.sim.node import SimNode
    from tests.sim.world import World


class Broken(AssertionError):
    """A promise was broken. The text says which."""


def check_node(node: SimNode) -> None:
    """Log, index and database of one node agree; its clock is ahead of all that it knows."""
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
    """What a vector covers is there, or something greater of the key, unless tombstones have left."""
    assert node.store is not None
    if world.plan.drops:
        return
    state = node.store._state
    for op in world.truth.ops:
        dot = op.dot(state.branches)
        if not op.certain or op.written[1] in world.truth.renewed or not op.is_covered(node.store):
            continue
        line = state.rs.get(INDEX + op.key)
        if line is None or decode_index(line).written_dot < dot:
            raise Broken(f"{node.name}: the vector covers {dot} of {op.key!r}, the index does not")


def check_converged(world: World) -> None:
    """Everybody holds the same, and it is the right thing."""
    contents = {}
    vectors = {}
    for node in world.nodes.values():
        assert node.store is not None
        contents[node.name] = dict(node.store._state.db.scan())
        vectors[node.name] = dict(node.store.vector)
        check_node(node)
        check_vector(world, node)
        if floors_above(node.store._state):
            raise Broken(f"{node.name}: the floor {node.store.floor} is above the vector, or a bulk load is incomplete")
    first = next(iter(contents.values()))
    if any(content != first for content in contents.values()):
        raise Broken(f"diverged: {contents}")
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
    """What was told as a conflict was one (of a forgotten tombstone no context can tell); and without faults every
    write that lost to one that had not seen it was told."""
    ops = {(op.key, op.written): op for op in world.truth.ops}
    told = set()
    for name, conflict in world.conflicts:
        told.add((conflict.key, (conflict.loser.stamp, int(conflict.loser.origin, 16))))
        pair = []
        for version in (conflict.winner, conflict.loser):
            dot = (version.stamp, int(version.origin, 16))
            op = ops.get((conflict.key, dot))
            if op is None or not op.certain or op.written[1] in world.truth.renewed:
                break
            # a write that was buried under a tombstone is reported as a delete
            if version.value not in (op.value, None) and version is conflict.loser:
                raise Broken(f"{name}: a conflict with {version.value!r} in place of {op.value!r}")
            pair.append(op)
        else:
            winner, loser = pair
            if not world.plan.drops and (loser in winner.seen or winner in loser.seen):
                raise Broken(f"{name}: {loser.written} of {conflict.key!r} was overwritten, and told as a conflict")
    if not world.plan.faultless:
        return
    for key, of_key in world.truth.by_key.items():
        seen = frozenset().union(*(op.seen for op in of_key))
        last = max(op.written for op in of_key)
        for op in of_key:
            if op not in seen and op.written != last and (key, op.written) not in told:
                raise Broken(f"{op.written} of {key!r} lost a conflict that nobody was told of")
