"""The real stores do what the rules say, step by step; and each rule is there for something."""

from __future__ import annotations

import pytest

from tests.simulation.model.aimed import AIMED, ALL, END, MUTANTS, NODES_OF, NOT_SHOWN
from tests.simulation.model.duet import Unlike, play
from tests.simulation.model.reference import OLD_FAULT, RULES
from tests.simulation.model.schedules import Step, minimise, random_schedule
from tests.simulation.model.solo import play_solo
from tests.simulation.mutants import mutant

pytestmark = pytest.mark.slow

SCHEDULES = 1_000
ALONE = 20_000
MOST_SEEDS_FOR_A_MUTANT = 2_000
CHUNK = 250
ONCE_UNLIKE = [820, 1726]
NODES = 3


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_the_real_stores_follow_the_rules(first: int) -> None:
    broken = {seed: wrong for seed in range(first, first + CHUNK) if (wrong := play(*random_schedule(seed)))}
    assert not broken


@pytest.mark.parametrize("seed", ONCE_UNLIKE)
def test_schedules_that_were_once_unlike(seed: int) -> None:
    assert play(*random_schedule(seed)) is None


@pytest.mark.parametrize("first", range(0, ALONE, ALONE // 4))
def test_the_rules_keep_the_promises(first: int) -> None:
    """The reference alone, on more schedules. `python -m tests.simulation.model --schedules 1000000` runs others."""
    broken = {seed: wrong for seed in range(first, first + ALONE // 4) if (wrong := play_solo(*random_schedule(seed)))}
    assert not broken


def test_every_rule_has_its_schedule() -> None:
    assert set(AIMED) | NOT_SHOWN == {*RULES, OLD_FAULT}


@pytest.mark.parametrize("rule", AIMED)
def test_with_all_rules_the_schedule_holds(rule: str) -> None:
    assert play_solo(NODES_OF.get(rule, NODES), AIMED[rule]) is None
    assert play(NODES_OF.get(rule, NODES), AIMED[rule]) is None


@pytest.mark.parametrize("rule", AIMED)
def test_without_the_rule_a_promise_is_broken(rule: str) -> None:
    assert play_solo(NODES_OF.get(rule, NODES), AIMED[rule], rule, shuffled=False) is not None


@pytest.mark.parametrize("rule", [rule for rule in AIMED if rule in MUTANTS])
def test_without_the_rule_the_real_code_goes_wrong_in_the_same_way(rule: str) -> None:
    with mutant(MUTANTS[rule]):
        assert play(NODES_OF.get(rule, NODES), AIMED[rule], rule) is not None


@pytest.mark.parametrize("rule", [rule for rule in MUTANTS if rule not in NOT_SHOWN])
def test_a_mutant_of_the_real_code_is_unlike_the_reference(rule: str) -> None:
    with mutant(MUTANTS[rule]), pytest.raises(Unlike):
        play(NODES_OF.get(rule, NODES), AIMED[rule])


@pytest.mark.parametrize("rule", sorted(NOT_SHOWN))
def test_a_rule_that_no_schedule_shows_alone_makes_a_difference_all_the_same(rule: str) -> None:
    """Its mutant does something else than the reference, on random schedules."""
    with mutant(MUTANTS[rule]), pytest.raises(Unlike):
        _play_many()


def _play_many() -> None:
    for seed in range(MOST_SEEDS_FOR_A_MUTANT):
        play(*random_schedule(seed))


def test_a_horizon_above_the_vector_would_be_for_ever() -> None:
    """A tombstone above its reader's vector, whose writer is gone, is dropped in a reconciliation: it raises no
    horizon."""
    schedule: list[Step] = [
        ("put", 2, b"a"),
        ("del", 2, b"b"),
        ("pull", 1, 0, 2),
        ("step", 1, 1),
        ("break", 1),
        ("time", 1),
        ("del", 1, b"c"),
        ("drop", 1, ALL),
        ("pull", 2, 0, 1),
        ("step", 2, END),
    ]
    assert play(NODES, schedule) is None


def test_schedules_are_cut_down_to_what_fails() -> None:
    steps: list[Step] = [("time", number) for number in range(40)]
    assert minimise(steps, lambda left: {("time", 3), ("time", 30)} <= set(left)) == [("time", 3), ("time", 30)]
