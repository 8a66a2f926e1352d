"""Being filled: what a node that knows nothing is sent, in order of keys, and what is left of it when it breaks off."""

from random import Random
from zlib import crc32

import pytest

from level_replicator.core.entry import encode_index
from level_replicator.core.limits import BULK_LOAD_PREVIEW_ENTRIES
from level_replicator.protocol.events import ReconcileStarted
from level_replicator.storage.feed.round_planner import ReconcileOffer, Round
from level_replicator.storage.reconcile.resolver import Resolver
from level_replicator.storage.recovery import open as opening
from level_replicator.storage.state.schema import BULK_LOADING
from level_replicator.storage.store import Store
from tests.unit.storage.reconciling import reconcile, reconciling, round_for
from tests.unit.storage.rig import Died, Rig, allow, assert_sound, contents, dots, pull

MANY = 3_000
STEPS = [
    "bulk load: before rs",
    "bulk load: after rs",
    "entries: before rs",
    "entries: between rs and db",
    "entries: after db",
]


def _source(count: int) -> Store:
    store = Rig(1).open()
    store.writer.write([(b"%06d" % number, b"v%d" % number) for number in range(count)], False)
    return store


def test_who_knows_nothing_is_shown_the_newest_and_then_filled() -> None:
    source, reader = _source(MANY), Rig(2).open()
    source.rounds.bulk_load_min_entries = MANY
    opened = round_for(source, reader)
    assert isinstance(opened, Round)
    assert opened.preview


@pytest.mark.parametrize("why", ["small log", "reader knows somebody", "reader has many"])
def test_others_are_sent_the_log(why: str) -> None:
    source, reader = _source(MANY), Rig(2).open()
    source.rounds.bulk_load_min_entries = MANY + 1 if why == "small log" else MANY
    if why == "reader knows somebody":
        reader.adopt_vector({77: 1}, 77)
    if why == "reader has many":
        reader.writer.write([(b"own%d" % number, b"") for number in range(MANY // 8 + 1)], False)
    opened = round_for(source, reader)
    assert isinstance(opened, Round)
    assert not opened.preview


def test_what_fills_is_not_logged_and_lies_under_the_floor() -> None:
    source, rig = _source(MANY), Rig(2)
    reader = rig.open()
    reader.writer.put(b"own", b"mine", False)
    frames = reconcile(source, reader)
    assert sum(len(frame.entries) for frame in frames) == MANY
    assert contents(reader) == {**contents(source), b"own": b"mine"}
    assert reader.entries == 1
    assert reader.floor == {source.origin: source.vector[source.origin]}
    assert reader.vector == {**source.vector, reader.origin: reader.vector[reader.origin]}
    assert_sound(reader)
    assert not reader.bulk_load_incomplete
    assert reader._state.rs.get(BULK_LOADING) is None


def test_nobody_below_the_floor_is_served_before_the_fill_is_complete() -> None:
    source, reader, third = _source(MANY), Rig(2).open(), Rig(3).open()
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    assert round_for(reader, third) is None
    assert isinstance(round_for(reader, source), Round)
    list(reconciliation)
    assert isinstance(round_for(reader, third), ReconcileOffer)


def _killed(step: str) -> tuple[Store, Rig]:
    """A source, and a reader that was killed at this step of its fill's second batch."""
    source, rig = _source(MANY), Rig(2)
    reader = rig.open()
    reconciliation = reconciling(source, reader)
    if step.startswith("entries"):
        next(reconciliation)
    rig.die_at = step
    with pytest.raises(Died):
        list(reconciliation)
    rig.kill()
    rig.die_at = None
    return source, rig


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_in_a_fill_leaves_what_is_sound_and_the_next_walk_costs_what_differs(step: str) -> None:
    source, rig = _killed(step)
    reader = rig.open()
    assert_sound(reader)
    assert reader.vector.keys() <= {reader.origin}
    assert reader.bulk_load_incomplete == (step != "bulk load: before rs")
    had = reader.keys
    assert had == {"entries: before rs": 1_024, "entries: between rs and db": 1_024, "entries: after db": 2_048}.get(
        step, 0
    )
    reader.rounds.bulk_load_own_rows = -1  # as of a reader with more lines
    frames = reconcile(source, reader)
    assert sum(len(frame.entries) for frame in frames) == MANY - had
    assert contents(reader) == contents(source)
    assert not reader.bulk_load_incomplete
    assert_sound(reader)


def test_without_the_repair_a_kill_leaves_lines_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rig = _killed("entries: between rs and db")
    monkeypatch.setattr(opening, "recover_bulk_load", lambda state: 0)
    with pytest.raises(AssertionError):
        assert_sound(rig.open())


def _deleted_meanwhile() -> tuple[Store, Store]:
    """A fill that broke off, and a source that deleted a key of it since and forgot that it did."""
    source, reader = _source(4 * MANY), Rig(2).open()
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    reconciliation.close()  # type: ignore[attr-defined]
    reader.end_reconciliation()
    reader.writer.put(b"000001", b"mine", False)
    source.writer.write([(b"000000", None), (b"000002", None)], False)
    source.retention.drop_tombstones(source.vector[source.origin])
    return source, reader


def test_what_only_the_reader_has_in_a_filled_range_is_judged() -> None:
    source, reader = _deleted_meanwhile()
    assert any(frame.span is not None for frame in reconcile(source, reader))
    assert contents(reader) == {**contents(source), b"000001": b"mine"}
    assert_sound(reader)


def test_without_that_a_deleted_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    source, reader = _deleted_meanwhile()
    monkeypatch.setattr(Resolver, "_resolve_own", lambda *_: 0)
    reconcile(source, reader)
    assert b"000000" in contents(reader)


def test_a_mark_that_the_log_of_others_made_good_leaves_with_it() -> None:
    source, rig = _killed("entries: after db")
    reader = rig.open()
    assert reader.bulk_load_incomplete
    reader.adopt_vector(dict(source.vector), source.origin)
    assert not reader.bulk_load_incomplete
    reader.close()
    assert not rig.open().bulk_load_incomplete


def test_a_key_of_our_own_that_we_deleted_and_forgot_is_not_filled_in() -> None:
    source, reader = _source(MANY), Rig(2).open()
    reader.writer.put(b"mine", b"old", False)
    assert pull(source, reader)
    reader.writer.delete(b"mine", False)
    assert pull(source, reader)
    reader.retention.truncate()
    reader.retention.drop_tombstones(reader.vector[reader.origin])
    source._state.rs.put(b"imine", encode_index(reader.vector[reader.origin] - 1, reader.origin, 0, crc32(b"old")))
    source._state.db.put(b"mine", b"old")  # as of a source that did not take the delete over
    reconcile(source, reader)
    assert b"mine" not in contents(reader)
    assert_sound(reader)


def test_a_fill_that_goes_on_serves_nobody_below_the_floor_either() -> None:
    source, rig = _killed("entries: after db")
    reader, third = rig.open(), Rig(3).open()
    reader.rounds.bulk_load_own_rows = -1
    assert isinstance(round_for(reader, third), ReconcileOffer)  # the source may be gone for good
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    assert round_for(reader, third) is None
    list(reconciliation)
    assert isinstance(round_for(reader, third), ReconcileOffer)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_loss_in_a_fill_leaves_nothing_that_the_next_walk_does_not_mend(seed: int) -> None:
    source, rig = _source(MANY), Rig(2)
    reader = rig.open()
    reader.writer.put(b"own", b"mine", True)
    reconciliation = reconciling(source, reader)
    next(reconciliation)
    rig.kill()
    random = Random(seed)
    rig.db_disk.power_loss(random)
    rig.rs_disk.power_loss(random)
    rig.boot = b"second"
    reader = rig.open()
    assert_sound(reader)
    source.writer.write([(b"%06d" % number, None) for number in range(2_000)], False)
    source.retention.drop_tombstones(source.vector[source.origin])
    reconcile(source, reader)
    assert contents(reader) == {**contents(source), b"own": b"mine"}
    assert_sound(reader)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_loss_right_after_a_fill_leaves_no_value_that_nothing_tells_of(seed: int) -> None:
    """It would be taken for a write of this node, also where it was deleted since."""
    source, rig = _source(MANY), Rig(2)
    reconcile(source, rig.open())
    rig.kill()
    random = Random(seed)
    rig.db_disk.power_loss(random)
    rig.rs_disk.power_loss(random)
    rig.boot = b"second"
    reader = rig.open()
    known = dots(reader)
    assert {known[key][1] for key in contents(reader)} <= {source.origin}
    assert_sound(reader)


def test_a_node_with_some_keys_is_filled_also_after_the_newest_entries_have_come() -> None:
    source, reader = _source(10_000), Rig(2).open()
    source.rounds.bulk_load_min_entries = 1
    reader.writer.write([(b"own%d" % number, b"mine") for number in range(1_000)], False)
    told = reader.keys
    pull(reader, source, allow(1), frame_entries=BULK_LOAD_PREVIEW_ENTRIES)
    assert reader.keys == told + BULK_LOAD_PREVIEW_ENTRIES
    opened = round_for(source, reader, reconcile=True)
    assert isinstance(opened, ReconcileOffer)
    begin = ReconcileStarted(opened.vector, opened.horizon, opened.dropped, compare_only=False, rows=opened.rows)
    reader.begin_reconciliation(begin, source.origin, rows_at_request=told)
    assert reader.bulk_loading


def test_a_write_over_what_a_broken_off_fill_left_gets_the_greater_stamp() -> None:
    source, rig = Rig(1), Rig(2)
    source.now_ms += 50_000
    full = source.open()
    full.writer.write([(b"%06d" % number, b"v") for number in range(MANY)], False)
    reader = rig.open()
    reconciliation = reconciling(full, reader)
    next(reconciliation)
    rig.kill()
    reader = rig.open()
    reader.writer.put(b"000000", b"mine", False)
    assert dots(reader)[b"000000"] > dots(full)[b"000000"]
