"""Running the application's `identify`."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from level_replicator.core.limits import (
    MAX_IDENTIFY_CALLS,
    MAX_IDENTIFY_STRANGERS,
    MAX_IDENTIFY_STRANGERS_PER_NETWORK,
)
from level_replicator.security.identify import Identify, IdentifyRunner
from level_replicator.security.peer_identity import Decision, PeerIdentity

ACCEPTED = Decision(accepted=True)


def _peer(*, known: bool = True) -> PeerIdentity:
    return PeerIdentity(b"certificate", "10.0.0.1:8000", dialled=False, known=known)


@contextmanager
def _runner(identify: Identify) -> Iterator[IdentifyRunner]:
    runner = IdentifyRunner(identify)
    try:
        yield runner
    finally:
        runner.close()


def test_a_function_runs_on_another_thread() -> None:
    threads = []

    def identify(peer: PeerIdentity) -> None:
        threads.append(threading.current_thread())
        peer.accept()

    with _runner(identify) as runner:
        assert runner.ask(_peer(), "network").result(60) == ACCEPTED
    assert threads != [threading.current_thread()]
    assert threads[0].daemon


def test_coroutines_share_one_event_loop() -> None:
    loops = []

    async def identify(peer: PeerIdentity) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        peer.accept()

    with _runner(identify) as runner:
        for _ in range(2):
            assert runner.ask(_peer(), "network").result(60) == ACCEPTED
    assert loops[0] is loops[1]


def test_a_decision_may_come_later() -> None:
    with _runner(lambda _: None) as runner:
        peer = _peer()
        outcome = runner.ask(peer, "network")
        peer.reject("unknown")
        assert outcome.result(60) == Decision(accepted=False, reason="unknown")


def test_no_decision_counts_before_identify_has_returned() -> None:
    released = threading.Event()

    def identify(peer: PeerIdentity) -> None:
        peer.accept()
        released.wait(60)

    with _runner(identify) as runner:
        peer = _peer()
        outcome = runner.ask(peer, "network")
        assert peer.decision.result(60) == ACCEPTED
        assert not outcome.done()
        released.set()
        assert outcome.result(60) == ACCEPTED


def test_an_exception_rejects_even_after_accept(caplog: pytest.LogCaptureFixture) -> None:
    def identify(peer: PeerIdentity) -> None:
        peer.accept()
        raise KeyError("users")

    with _runner(identify) as runner:
        assert not runner.ask(_peer(), "network").result(60).accepted
    assert "identify raised an exception" in caplog.text


def test_close_rejects_coroutines_that_still_run() -> None:
    started = threading.Event()

    async def identify(_peer: PeerIdentity) -> None:
        started.set()
        await asyncio.sleep(600)

    with _runner(identify) as runner:
        outcome = runner.ask(_peer(), "network")
        assert started.wait(60)
    assert not outcome.result(60).accepted


class _Blocked:
    """An `identify` that does not return before `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, peer: PeerIdentity) -> Any:
        self.released.wait(60)
        peer.accept()


def test_limits_for_unknown_peers_leave_room_for_known_ones() -> None:
    identify = _Blocked()
    with _runner(identify) as runner:
        waiting = [runner.ask(_peer(known=False), "one") for _ in range(MAX_IDENTIFY_STRANGERS_PER_NETWORK)]
        assert not runner.ask(_peer(known=False), "one").result(0).accepted
        more = MAX_IDENTIFY_STRANGERS - MAX_IDENTIFY_STRANGERS_PER_NETWORK
        waiting += [runner.ask(_peer(known=False), f"network {number}") for number in range(more)]
        assert not runner.ask(_peer(known=False), "another").result(0).accepted
        waiting += [runner.ask(_peer(), "one") for _ in range(MAX_IDENTIFY_CALLS - MAX_IDENTIFY_STRANGERS)]
        assert "try again later" in runner.ask(_peer(), "one").result(0).reason
        identify.released.set()
        assert [each.result(60) for each in waiting] == [ACCEPTED] * MAX_IDENTIFY_CALLS
        while runner._under_way:  # the last threads are ending
            pass
        assert runner.ask(_peer(known=False), "one").result(60) == ACCEPTED
