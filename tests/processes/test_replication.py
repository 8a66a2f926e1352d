"""What travels, what does not, and how often."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from level_replicator.edges.demo.relay import Relay
from tests.processes.cluster import TOPOLOGIES, eventually
from tests.processes.nodes import (
    HEARTBEAT_S,
    PING_BYTES,
    Wall,
    address,
    bytes_in,
    entries_in,
    level,
    open_node,
    wait_for_state,
)


def test_the_case_that_one_log_read_backwards_gets_wrong(tmp_path: Path) -> None:
    """A writes a1 and pulls b1, which is newer; B must still see a1."""
    with open_node(tmp_path / "a") as a, open_node(tmp_path / "b", address(a)) as b:
        wait_for_state(b, "live")
        a.put(b"a1", b"1")
        b.put(b"b1", b"1")
        level(a, b)
        assert dict(b) == {b"a1": b"1", b"b1": b"1"}


def test_an_old_change_of_a_third_node_arrives_behind_newer_ones(tmp_path: Path) -> None:
    with open_node(tmp_path / "c") as c:
        c.put(b"old", b"of c")
        c.put(b"both", b"of c")
        with open_node(tmp_path / "a") as a, open_node(tmp_path / "b", address(a)) as b:
            a.put(b"new", b"of a")
            b.put(b"both", b"of b")
            level(a, b)
            with open_node(tmp_path / "d", address(a), address(c)) as d:
                level(a, b, c, d)
                assert dict(a) == {b"old": b"of c", b"new": b"of a", b"both": b"of b"}


def test_same_key_same_millisecond_same_value_read_by_a_third_through_each(tmp_path: Path) -> None:
    wall = Wall()
    wall.frozen_ms = wall()
    with open_node(tmp_path / "a", wall=wall) as a, open_node(tmp_path / "b", wall=wall) as b:
        for replica, mark in ((a, b"a"), (b, b"b")):
            replica.put(b"same", b"value")
            replica.put(b"differs", b"of " + mark)
        (stamp_a,), (stamp_b,) = a.status()["vector"].values(), b.status()["vector"].values()
        assert stamp_a == stamp_b
        with (
            open_node(tmp_path / "c", address(a), wall=wall) as through_a,
            open_node(tmp_path / "d", address(b), wall=wall) as through_b,
        ):
            level(a, through_a)
            level(b, through_b)
            with open_node(tmp_path / "e", address(a), address(b), wall=wall) as joins:
                level(a, b, through_a, through_b, joins)
                greater = b"of a" if a.status()["origin"] > b.status()["origin"] else b"of b"
                assert joins.get(b"differs") == greater


def test_100_000_writes_over_1_000_keys_are_1_000_entries(tmp_path: Path) -> None:
    with open_node(tmp_path / "a") as a:
        for start in range(0, 100_000, 1_000):
            with a.write_batch() as batch:
                for i in range(start, start + 1_000):
                    batch.put(b"%d" % (i * 7 % 1_000), b"%d" % i)
        with open_node(tmp_path / "b", address(a)) as b:
            level(a, b)
            assert entries_in(b) == 1_000
            assert a.status()["entries"] == 1_000


def test_a_scan_that_breaks_off_is_resumed(tmp_path: Path) -> None:
    """The relay is cut in the middle of a catch-up, several times: nothing that was applied comes again."""
    count = 60_000
    relay = Relay()
    try:
        with open_node(tmp_path / "a") as a:
            for start in range(0, count, 1_000):
                with a.write_batch() as batch:
                    for i in range(start, start + 1_000):
                        batch.put(b"%016d" % i, b"v" * 100)
            assert a.address is not None
            server = f"127.0.0.1:{relay.open('link', a.address[1])}"
            with open_node(tmp_path / "b", server) as b:
                for part in (1, 10_000, 30_000):
                    eventually(lambda part=part: entries_in(b) >= part, b.status)
                    relay.cut("link")
                    wait_for_state(b, "waiting")
                    relay.heal("link")
                level(a, b)
                assert entries_in(b) == count
    finally:
        relay.close()


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_level_means_nothing_but_heartbeats_and_once_a_neighbour(tmp_path: Path, name: str) -> None:
    links = TOPOLOGIES[name]
    count = 1 + max(max(link) for link in links)
    writes = 200
    with ExitStack() as stack:
        replicas = []
        for node in range(count):
            servers = [address(replicas[a]) for a, b in links if b == node and a < node]
            servers += [address(replicas[b]) for a, b in links if a == node and b < node]
            replicas.append(stack.enter_context(open_node(tmp_path / str(node), *servers)))
        for number in range(writes):
            replicas[number % count].put(b"%d" % number, b"v")
        level(*replicas)
        for node, replica in enumerate(replicas):
            peers = replica.status()["peers"]
            assert len(peers) == sum(node in link for link in links)
            own = len(range(node, writes, count))
            for peer in peers:
                assert peer["entries_in"] <= writes - own, "more than there is: something came twice, or came back"
        before = _quiet(replicas)
        eventually(lambda: all(now > was for now, was in zip(_bytes(replicas), before, strict=True)), lambda: before)
        after = _bytes(replicas)
        assert all((now - was) % PING_BYTES == 0 for now, was in zip(after, before, strict=True))
        assert [entries_in(replica) for replica in replicas] == [entries_in(replica) for replica in replicas]


def _bytes(replicas: list) -> list[int]:  # type: ignore[type-arg]
    return [bytes_in(replica) for replica in replicas]


def _quiet(replicas: list) -> list[int]:  # type: ignore[type-arg]
    """The last Haves are on their way when all are level: waits until only whole heartbeats come."""
    seen = [_bytes(replicas)]

    def calm() -> bool:
        now = _bytes(replicas)
        grown = [a - b for a, b in zip(now, seen[0], strict=True)]
        if all(0 < more <= 4 * PING_BYTES * len(replicas) and more % PING_BYTES == 0 for more in grown):
            return True
        if any(more % PING_BYTES for more in grown):
            seen[0] = now
        return False

    eventually(calm, lambda: seen)
    return _bytes(replicas)


def test_both_dial_each_other_and_one_connection_stays(tmp_path: Path) -> None:
    relay = Relay()
    try:
        with open_node(tmp_path / "a") as first:
            assert first.address is not None
            port = first.address[1]
            to_a = f"127.0.0.1:{relay.open('x', port)}"
        with open_node(tmp_path / "b", to_a) as b, open_node(tmp_path / "a", address(b), port=port) as a:
            a.put(b"k", b"v")
            level(a, b)
            eventually(lambda: len(a._node.hub.links) == 1 and len(b._node.hub.links) == 1, a.status)
            (peer,) = a.status()["peers"]
            assert peer["state"] == "live"
            b.put(b"l", b"w")
            level(a, b)
    finally:
        relay.close()


def test_beside_asyncio_and_many_in_one_process(tmp_path: Path) -> None:
    """Replicas in the thread of a running loop, which goes on running."""

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(HEARTBEAT_S / 100)

        ticking = asyncio.create_task(tick())
        with ExitStack() as stack:
            hub = stack.enter_context(open_node(tmp_path / "hub"))
            others = [stack.enter_context(open_node(tmp_path / str(i), address(hub))) for i in range(7)]
            for i, replica in enumerate(others):
                replica.put(b"%d" % i, b"v")
            for replica in others:
                assert await asyncio.to_thread(replica.wait_synced, 60)
            await asyncio.to_thread(level, hub, *others)
            assert len(dict(hub)) == 7
        ticking.cancel()
        assert ticks > 1

    asyncio.run(main())


def test_a_wait_on_the_own_event_loop_is_refused(tmp_path: Path) -> None:
    with open_node(tmp_path / "a") as a:

        async def wait() -> None:
            a.wait_synced(1)

        with pytest.raises(RuntimeError, match="own thread"):
            a._node.call(wait()).result()
