"""The reference keeps what it promises on random schedules, and each rule is needed for that."""

import pytest

from tests.rules.aimed import AIMED
from tests.rules.node import START_MS, Line
from tests.rules.reference import RULES, RefWorld, Schedule, nodes_of, outcome
from tests.rules.schedules import minimise, random_schedule

SCHEDULES = 2_000
BLOCKS = 8


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_schedules_hold(block: int) -> None:
    faults = {seed: fault for seed in range(block, SCHEDULES, BLOCKS) if (fault := outcome(random_schedule(seed)))}
    assert faults == {}


def test_every_rule_has_an_aimed_schedule() -> None:
    assert AIMED.keys() == RULES.keys()


@pytest.mark.parametrize("rule", RULES)
def test_aimed_schedule_fails_without_its_rule(rule: str) -> None:
    assert outcome(AIMED[rule], [rule]) is not None


@pytest.mark.parametrize("rule", RULES)
def test_aimed_schedule_holds_with_all_rules(rule: str) -> None:
    assert outcome(AIMED[rule]) is None


@pytest.mark.parametrize("rule", RULES)
def test_no_step_of_an_aimed_schedule_can_be_left_out(rule: str) -> None:
    schedule = AIMED[rule]
    needless = [
        step
        for place, step in enumerate(schedule)
        if step[0] != "break" and outcome(schedule[:place] + schedule[place + 1 :], [rule])
    ]
    assert needless == []


def test_schedules_and_worlds_are_deterministic() -> None:
    for seed in range(20):
        schedule = random_schedule(seed)
        assert schedule == random_schedule(seed)
        one, other = RefWorld(nodes_of(schedule)), RefWorld(nodes_of(schedule))
        for step in schedule:
            one.execute(step)
            other.execute(step)
            assert one.pictures() == other.pictures()


def test_random_schedules_reach_every_mode() -> None:
    modes = set()
    for seed in range(200):
        schedule = random_schedule(seed)
        world = RefWorld(nodes_of(schedule))
        for step in schedule:
            if step[0] == "pull":
                modes.add(world.mode(step[2], step[3]))
            world.execute(step)
    assert modes == {"wait", "log", "reconcile", "rejoin"}


def test_any_part_of_a_schedule_is_a_schedule() -> None:
    for seed in range(100):
        schedule = random_schedule(seed)
        assert outcome(schedule[::2]) is None
        assert outcome(schedule[1::3]) is None


def test_no_horizon_stands_above_the_vector() -> None:
    for seed in range(300):
        world = world_after(random_schedule(seed))
        for node in world.nodes.values():
            assert all(node.vector.get(origin, 0) >= stamp for origin, stamp in node.horizon.items())
            assert all(node.vector.get(origin, 0) >= stamp for origin, stamp in node.floor.items())


# -- what single steps do


def world_after(schedule: Schedule) -> RefWorld:
    world = RefWorld(nodes_of(schedule))
    world.run(schedule)
    return world


def stamp(counter: int = 0, ms: int = 0) -> int:
    return ((START_MS + ms) << 16) + counter


def test_a_put_takes_the_next_stamp() -> None:
    node = world_after([("skew", 1, 5), ("put", 1, b"a"), ("put", 1, b"b"), ("time", 2), ("del", 1, b"a")]).nodes[1]
    assert node.index == {b"a": Line(stamp(0, 7), 1, None), b"b": Line(stamp(1, 5), 1, b"2")}
    assert node.vector == {1: stamp(0, 7)}
    assert node.log == {b"a", b"b"}


def test_log_is_read_newest_first_over_all_origins() -> None:
    world = world_after(
        [
            ("put", 1, b"old"),
            ("put", 2, b"same"),
            ("time", 1),
            ("put", 1, b"new"),
            ("pull", 1, 3, 1),
            ("step", 1, 9),
            ("pull", 2, 3, 2),
            ("step", 2, 9),
            ("pull", 3, 4, 3),
        ]
    )
    order = []
    for _ in range(3):
        before = set(world.nodes[4].index)
        world.execute(("step", 3, 1))
        order += world.nodes[4].index.keys() - before
    assert order == [b"new", b"same", b"old"]
    assert world.nodes[4].vector == world.nodes[3].vector


def test_vector_moves_only_when_the_pull_has_ended() -> None:
    world = world_after([("put", 1, b"a"), ("put", 1, b"b"), ("pull", 1, 2, 1), ("step", 1, 1)])
    assert world.nodes[2].index.keys() == {b"b"}
    assert world.nodes[2].vector == {}
    world.execute(("step", 1, 1))
    assert world.nodes[2].vector == world.nodes[1].vector
    assert world.pulls == {}


def test_truncation_by_halves() -> None:
    world = world_after([("put", 1, key) for key in (b"a", b"b", b"c")])
    node = world.nodes[1]
    logs = []
    for how in ("half", "half", "all"):
        world.execute(("truncate", 1, {1: how}))
        logs.append(node.log)
    assert logs == [{b"c"}, set(), set()]
    assert node.floor == node.vector
    assert node.index.keys() == {b"a", b"b", b"c"}


def test_only_tombstones_that_are_old_enough_are_dropped() -> None:
    world = world_after([("del", 1, b"a"), ("time", 10), ("del", 1, b"b"), ("put", 1, b"c"), ("drop", 1, 10)])
    node = world.nodes[1]
    assert node.index.keys() == {b"b", b"c"}
    assert node.horizon == {1: stamp()}
    assert node.newest_dropped == stamp()


def test_a_node_waits_for_one_that_missed_tombstones() -> None:
    schedule: Schedule = [("put", 1, b"a"), ("del", 1, b"b"), ("drop", 1, 0)]
    world = world_after([*schedule, ("put", 2, b"c")])
    assert (world.mode(1, 2), world.mode(2, 1)) == ("wait", "rejoin")


def test_a_tombstone_that_nobody_has_any_more_makes_nobody_stale_for_ever() -> None:
    world = world_after(
        [
            ("put", 3, b"a"),
            ("del", 3, b"b"),
            ("pull", 1, 1, 3),
            ("step", 1, 1),
            ("break", 1),
            ("time", 1),
            ("del", 2, b"c"),
            ("drop", 2, 0),
        ]
    )
    assert b"b" in world.nodes[1].index
    del world.nodes[3]
    world.settle()
    assert b"b" not in world.nodes[1].index
    assert (world.mode(1, 2), world.mode(2, 1)) == ("log", "log")


def test_steps_without_sense_do_nothing() -> None:
    world = RefWorld(2)
    world.run([("put", 1, b"a"), ("pull", 1, 1, 1), ("pull", 2, 1, 7), ("step", 3, 1), ("break", 3)])
    before = world.pictures()
    world.execute(("put", 9, b"a"))
    assert world.pictures() == before
    assert world.pulls == {}


def test_unknown_steps_and_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="not a step"):
        RefWorld(1).execute(("jump", 1, 1))
    with pytest.raises(ValueError, match="no such rules"):
        RefWorld(1, off=["gravity"])


def test_a_settled_world_that_is_not_level_is_told_so() -> None:
    world = world_after([("put", 1, b"a"), ("put", 2, b"b")])
    assert str(world.check()).startswith("diverged")
    world.settle()
    assert world.check() is None


# -- making schedules small


def test_minimise_finds_the_two_steps_that_matter() -> None:
    needed = [("put", 2, b"c"), ("drop", 1, 30)]
    schedule: Schedule = [("time", 1), needed[0], ("put", 1, b"a"), ("time", 3), needed[1], ("time", 1)]
    assert minimise(schedule, lambda part: all(step in part for step in needed)) == needed


def test_minimise_makes_a_random_failure_small() -> None:
    def fails(schedule: Schedule) -> bool:
        return outcome(schedule, ["floor"]) is not None

    found = minimise(random_schedule(16), fails)
    assert fails(found)
    assert len(found) <= 4
    assert found == minimise(random_schedule(16), fails)


def test_minimise_refuses_what_does_not_fail() -> None:
    with pytest.raises(ValueError, match="does not fail"):
        minimise([("time", 1)], lambda _: False)
