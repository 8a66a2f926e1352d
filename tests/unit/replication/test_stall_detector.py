"""When a wait for the changes of a peer is reported as a stall."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from level_replicator.core.limits import STALL_MS
from level_replicator.replication.peers import Peer
from level_replicator.replication.stall_detector import StallDetector, WaitReason

SECOND_MS = 1_000


class _Wait:
    """A detector on a clock of its own, checked once a second."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.reason: WaitReason | None = WaitReason.CHANGES
        self.ours: dict[int, int] = {}
        self.theirs = {7: 100}
        self.peer = Peer("b:1", dialled=True, origin=7)
        session: Any = SimpleNamespace(push=SimpleNamespace(peer_vector=self.theirs))
        store: Any = SimpleNamespace(vector=self.ours)
        self.detector = StallDetector(session, store, lambda: self.peer, lambda: self.now_ms)

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.detector.check(lambda: self.reason, lambda: self.reason and self.reason.value)
            self.now_ms += SECOND_MS


LIMIT_S = STALL_MS // SECOND_MS
STEP_S = LIMIT_S // 20
"""Seconds between two checks that have an effect."""


def test_a_wait_of_the_limit_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="level_replicator")
    wait = _Wait()
    wait.seconds(LIMIT_S)
    assert not wait.peer.stalled
    wait.seconds(STEP_S)
    assert wait.peer.stalled
    wait.seconds(3 * LIMIT_S)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "b:1 (origin 0000000000000007)" in caplog.text
    wait.detector.progressed()
    assert not wait.peer.stalled
    assert wait.detector.waiting_ms == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


def test_progress_begins_the_wait_anew() -> None:
    wait = _Wait()
    for _ in range(3):
        wait.seconds(LIMIT_S - STEP_S)
        wait.detector.progressed()
    assert not wait.peer.stalled


def test_the_missing_changes_may_come_from_other_peers() -> None:
    wait = _Wait()
    for _ in range(5):
        wait.seconds(LIMIT_S - STEP_S)
        wait.ours[7] = wait.theirs[7]
        wait.theirs[7] += 100
    assert not wait.peer.stalled
    wait.seconds(LIMIT_S + 2 * STEP_S)
    assert wait.peer.stalled


def test_a_round_without_progress_is_a_stall_although_other_peers_sent_its_changes() -> None:
    wait = _Wait()
    wait.reason = WaitReason.ROUND
    wait.seconds(LIMIT_S // 2)
    wait.ours[7] = wait.theirs[7]
    wait.seconds(LIMIT_S // 2 + STEP_S)
    assert wait.peer.stalled


def test_the_wait_for_a_reconciliation_with_another_peer_is_not_a_stall_of_this_one() -> None:
    wait = _Wait()
    wait.reason = WaitReason.ANOTHER
    wait.seconds(2 * LIMIT_S)
    assert not wait.peer.stalled
    wait.reason = WaitReason.CHANGES
    wait.seconds(LIMIT_S - STEP_S)
    assert not wait.peer.stalled, "its own wait has just begun"
    wait.seconds(3 * STEP_S)
    assert wait.peer.stalled


def test_a_stall_ends_when_there_is_nothing_to_wait_for() -> None:
    wait = _Wait()
    wait.seconds(LIMIT_S + STEP_S)
    assert wait.peer.stalled
    wait.reason = None
    wait.seconds(STEP_S + 1)
    assert not wait.peer.stalled
    assert wait.detector.waiting_ms == 0
