"""The simulator in CI: seeds, seeds that once failed, aimed schedules, and mutants that must be caught.

`make sim SEEDS=100000` runs more, `python -m tests.simulation --seeds FIRST:LAST` others. Seeds that failed are kept
here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.__main__ import run_seed
from tests.simulation.aimed import AIMED
from tests.simulation.checks import Broken
from tests.simulation.model import aimed as model
from tests.simulation.mutants import MUTANTS, mutant
from tests.simulation.world import World

SEEDS = 520
CHUNK = 40
ONCE_FAILED = [3, 5, 111, 180, 191, 215, 562, 2192, 2372, 10806, 11041, 23096]
ONCE_FAILED += [168, 653, 767, 950, 1333, 1642, 2538, 10926, 2807, 3381, 6951, 701392, 704538, 705607]
ONCE_FAILED += [401, 461, 1242, 1484, 3001558, 3003833, 3003847, 3002986, 875]
ONCE_FAILED += [9001051, 12000333, 13016304, 13117658, 14004749, 14010430, 17000874, 18000521, 18001606, 18002887]
MOST_SEEDS_FOR_A_MUTANT = 400
BY_THE_MODEL = {
    "dots-against-the-order",
    "dead-writes-taken",
    "dead-for-the-peer-kept",
    "winners-of-the-stale-keep-their-dots",
    "tombstones-dropped-too-early",
    "removed-without-a-trace",
    "absent-keys-accept-anything",
    "horizon-not-taken-over",
    "doubt-not-looked-at-again",
    "doubt-only-for-absent-keys",
    "log-read-below-the-floor",
}
"""Rare in random worlds; tests/simulation/model has a schedule aimed at each."""


CAUGHT_BY_A_SCHEDULE = {
    "vector-survives-power-loss": "power-loss-loses-what-the-vector-covers",
    "doubtful-and-yet-taken": "doubtful-until-written-again",
}
"""Mutants that few random seeds catch, or none, each with the aimed schedule that catches it."""


def test_every_mutant_is_somebodys() -> None:
    assert set(model.MUTANTS.values()) >= BY_THE_MODEL


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_fits_the_code(name: str) -> None:
    """Each name that a mutant patches exists. A mutant that cannot be applied fails only in the slow tests."""
    with mutant(name):
        pass


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, SEEDS, CHUNK)]
)
def test_seeds_hold(first: int) -> None:
    wrong = {seed: text for seed in range(first, first + CHUNK) if (text := run_seed(seed))}
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_seed_that_once_failed(seed: int) -> None:
    assert run_seed(seed) is None


@pytest.mark.parametrize("name", AIMED)
def test_aimed_schedule(name: str) -> None:
    AIMED[name]()


@pytest.mark.parametrize("name", CAUGHT_BY_A_SCHEDULE)
def test_mutant_is_caught_by_its_schedule(name: str) -> None:
    with mutant(name), pytest.raises(Broken):
        AIMED[CAUGHT_BY_A_SCHEDULE[name]]()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in BY_THE_MODEL])
def test_mutant_is_caught(name: str) -> None:
    with mutant(name):
        assert _caught(), f"nothing noticed that {name} is switched off"


def _caught() -> bool:
    """By a promise that is broken, not by some other error: a mutant that does not fit the code proves nothing."""
    worlds = [_run_of(seed) for seed in range(MOST_SEEDS_FOR_A_MUTANT)]
    for schedule in [*AIMED.values(), *worlds]:
        try:
            schedule()
        except Broken:
            return True
    return False


def _run_of(seed: int) -> Callable[[], None]:
    return lambda: World(seed).run()
