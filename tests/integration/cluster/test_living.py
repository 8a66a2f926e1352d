"""A replica inside a program: with other replicas, with asyncio, closed during traffic, waited for and forked."""

import asyncio
import contextlib
import json
import os
import threading
import warnings
from collections.abc import Callable

import pytest

import level_replicator as lrep
from level_replicator.protocol.messages import Ping, encode
from level_replicator.testing.relay import Relay
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import wait_until

Make = Callable[..., LocalNode]
MakeRelay = Callable[[int], Relay]
MANY = 20


def test_one_process_may_hold_many_replicas(master: Make) -> None:
    centre = master("0")
    masters = [centre] + [master(str(number), [centre.address]) for number in range(1, MANY)]
    for number, one in enumerate(masters):
        one.put(b"%d" % number, b"value")
    wait_until(lambda: all(len(one.vector) == MANY for one in masters), "all writes everywhere")
    wait_in_sync(*masters)
    assert len(masters[-1].contents()) == MANY


def test_a_replica_works_beside_a_running_asyncio_loop(master: Make) -> None:
    async def program() -> None:
        a = master("a")
        b = master("b", [a.address])
        turns = 0

        async def other_work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        work = asyncio.create_task(other_work())
        a.put(b"key", b"value")
        assert await asyncio.to_thread(b.replica.wait_synced, 60)
        assert b.replica.get(b"key") == b"value"
        assert turns > 0
        work.cancel()
        a.close()
        b.close()

    asyncio.run(program())


def test_close_during_traffic_is_clean_and_idempotent(master: Make) -> None:
    a = master("a")
    b = master("b", [a.address])
    wait_until(lambda: b.peer(a)["state"] == "live", "live")
    stopped = threading.Event()

    def write(one: LocalNode) -> None:
        with contextlib.suppress(lrep.ClosedError):
            for serial in range(10**9):
                if stopped.is_set():
                    return
                one.put(b"%d" % (serial % 1_000), b"%d" % serial)

    writers = [threading.Thread(target=write, args=(one,)) for one in (a, b)]
    for writer in writers:
        writer.start()
    wait_until(lambda: b.peer(a)["entries_in"] > 1_000, "traffic")
    b.close()
    b.close()
    with pytest.raises(lrep.ClosedError):
        b.put(b"key", b"value")
    stopped.set()
    for writer in writers:
        writer.join()
    b.open()
    wait_in_sync(a, b)
    a.close()
    b.close()
    check_equal([a.folder, b.folder])


def test_wait_synced_waits_until_the_peer_has_everything(master: Make, relay: MakeRelay) -> None:
    alone = master("alone")
    assert alone.replica.wait_synced(60), "nobody is connected and nobody is dialled: nothing to wait for"
    wire = relay(alone.port)
    wire.cut()
    b = master("b", [wire.address])
    assert not b.replica.wait_synced(0.05), "nobody is connected yet"
    for serial in range(2_000):
        alone.put(b"%d" % serial, b"value")
    target = alone.vector
    wire.heal()
    assert b.replica.wait_synced(60)
    assert b.vector.items() >= target.items()
    assert len(b.contents()) == 2_000


def test_wait_synced_ends_when_the_replica_is_closed(master: Make, relay: MakeRelay) -> None:
    a = master("a")
    wire = relay(a.port)
    wire.cut()
    b = master("b", [wire.address])
    ended: list[type[BaseException]] = []

    def wait() -> None:
        try:
            b.replica.wait_synced(None)
        except lrep.ClosedError as error:
            ended.append(type(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: bool(b.replica._node.sync_waiter._progress), "it waits")
    b.close()
    waiter.join()
    assert ended == [lrep.ClosedError]


def test_status_is_plain_data(master: Make) -> None:
    a = master("a")
    b = master("b", [a.address])
    a.put(b"key", b"value")
    wait_in_sync(a, b)
    for one, other in ((a, b), (b, a)):
        status = one.replica.status()
        assert json.loads(json.dumps(status)) == status
        assert status["origin"] == one.origin
        assert (status["keys"], status["entries"], status["failed"]) == (1, 1, None)
        assert status["address"] == list(one.replica.address or ())
        peer = one.peer(other)
        assert peer["bytes_in"] > 0
        assert peer["bytes_out"] > 0
    assert (b.peer(a)["entries_in"], a.peer(b)["entries_out"]) == (1, 1)


def test_entries_of_the_first_round_do_not_count_as_behind(master: Make) -> None:
    a = master("a")
    a.put(b"key", b"value")
    b = master("b", [a.address])
    wait_in_sync(a, b)
    told = a.peer(b)["bytes_in"]
    wait_until(lambda: a.peer(b)["bytes_in"] >= told + 10 * len(encode(Ping())), "heartbeats, after all else")
    assert a.peer(b)["behind"] == 0


def test_a_forked_child_gets_a_clear_error_and_the_parent_works(master: Make) -> None:
    a = master("a")
    b = master("b", [a.address])
    a.put(b"key", b"value")
    wait_in_sync(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is tested is just this: a fork beside threads
        child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: a.replica.get(b"key"), lambda: a.replica.put(b"key", b"x"), lambda: a.replica.status()):
            try:
                call()
            except lrep.ForkError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    a.put(b"key", b"after")
    wait_in_sync(a, b)
    assert b.contents() == {b"key": b"after"}


def test_a_wait_on_the_replicas_own_thread_is_refused(master: Make) -> None:
    a = master("a")

    async def wait() -> None:
        a.replica.wait_synced(1)

    with pytest.raises(RuntimeError, match="event loop of the replica"):
        a.replica._node.call(wait()).result()
