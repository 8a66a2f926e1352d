"""What the simulator says when nodes never come to rest."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.simulation.__main__ import Tally, run_seed
from tests.simulation.aimed import AIMED
from tests.simulation.budget import AFTER_FAULTS
from tests.simulation.checks import Broken
from tests.simulation.mutants import mutant
from tests.simulation.plan import Plan, make_plan
from tests.simulation.world import World


def test_a_livelock_fails_and_the_reason_names_who_says_what_and_what_each_waits_for() -> None:
    """Two peers of a node whose bulk load never ends take turns: each reconciliation releases the pull of the other."""
    with (
        mutant("bulk-loads-end-with-their-floor-only"),
        mutant("repetitions-begin-at-once"),
        pytest.raises(Broken) as failed,
    ):
        AIMED["bulk-load-from-a-peer-that-is-gone"]()
    reason = str(failed.value)
    assert reason.startswith("no rest: ")
    assert "frames in" in reason
    assert "virtual seconds since the end of the faults" in reason
    assert "c → a: " in reason
    assert " ReconcileStart" in reason
    assert "a: its bulk load is incomplete, or a floor is above the vector" in reason
    assert "a with d (" in reason


def test_so_does_one_in_which_no_time_passes_and_nobody_says_anything() -> None:
    world = World(1)

    def again() -> None:
        world.after(0, again)

    world.budget.begin(AFTER_FAULTS)
    again()
    with pytest.raises(Broken, match=r"no rest: \d+ events in 0\.000 virtual seconds"):
        world.run_for(1)


def test_what_was_simulated_is_counted() -> None:
    tally = Tally()
    seeds = (seed for seed in range(10_000) if _has_all(make_plan(seed)))
    for seed in islice(seeds, 3):  # in one of them a fault may not come about
        assert run_seed(seed, tally) is None
    text = str(tally)
    assert tally.ms > 0
    assert "simulated hours; faults: " in text
    for kind in ("cut", "drop", "kill", "stop", "truncate", "clock_jump", "connection_broken"):
        assert f" {kind}" in text


def _has_all(plan: Plan) -> bool:
    often = all(plan.faults.get(kind, 0) > 0.03 for kind in ("cut", "drop", "kill", "stop", "truncate"))
    return often and plan.clock == "jumping"
