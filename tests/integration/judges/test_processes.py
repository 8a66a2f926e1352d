"""Nodes in real processes, judged from outside under faults of one kind.

`python -m tests.integration.judges` does the same for longer."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.waiting import wait_until
from tests.integration.cluster.topology import PAIR
from tests.integration.judges.faults import KINDS
from tests.integration.judges.run import Run, Verdict
from tests.integration.judges.sessions import Rule

pytestmark = pytest.mark.slow

FAULTS_S = 2.5
LIES_ONCE_IN = 10
ADDS, GETS, READS = 100, 200, 20
"""How many requests the clients of the lying node have made before they judge it."""


def judged(name: str, folder: Path, **options: Any) -> Verdict:
    kind = KINDS[name]
    if kind.missing:
        pytest.skip(kind.missing)
    with contextlib.closing(Run(folder, seed=1, **kind.options, **options)) as run:
        run.start()
        kind.play(run, time.monotonic() + FAULTS_S)
        return run.judge()


@pytest.mark.parametrize("name", KINDS)
def test_promises_hold_under_faults(name: str, tmp_path: Path) -> None:
    verdict = judged(name, tmp_path)
    assert verdict.holds, str(verdict)
    assert verdict.faults


def test_a_log_that_is_read_back_to_the_first_known_entry_loses_elements(tmp_path: Path) -> None:
    """The judges detect on real processes that a rule is broken."""
    verdict = judged("cut", tmp_path, mutant="stop-at-first-known")
    assert verdict.elements.lost
    assert verdict.broken, "the nodes are not equal"


def test_a_node_that_lies_is_detected(tmp_path: Path) -> None:
    """It forgets acknowledged writes, leaves elements out and returns old values, each now and then."""
    with contextlib.closing(Run(tmp_path, seed=1, links=PAIR, lies=LIES_ONCE_IN)) as run:
        run.start()
        history = run.history
        for done, enough in ((history.adds, ADDS), (history.gets, GETS), (history.reads, READS)):
            wait_until(lambda done=done, enough=enough: sum(each.node == 0 for each in done) >= enough, "the requests")  # type: ignore[misc]
        verdict = run.judge()
    assert not verdict.holds
    assert verdict.elements.lost
    assert verdict.elements.flickered
    assert {Rule.READ_YOUR_WRITES, Rule.MONOTONIC_READS} <= {violation.rule for violation in verdict.violations}
    assert {violation.get.node for violation in verdict.violations} == {0}
    assert not verdict.broken, "the nodes are equal; so their state shows nothing"
