"""The conditions for nodes to be in sync, and the report when they are not."""

from pathlib import Path

import pytest

from level_replicator.cli.demo.checks import behind, out_of_sync
from level_replicator.cli.demo.master import Master, PeerStatus, Status

ORIGINS = ["aa", "bb", "cc"]


def peer(origin: str, *, state: str = "live", behind: int = 0) -> PeerStatus:
    return PeerStatus(address="", origin=origin, state=state, last_error=None, behind=behind, bytes_in=0, entries_in=0)


@pytest.fixture
def masters(tmp_path: Path) -> list[Master]:
    made = []
    for origin in ORIGINS:
        master = Master(f"node {origin}", tmp_path / origin, [])
        others = [peer(other) for other in ORIGINS if other != origin]
        master.status = Status(origin=origin, keys=5, vector=dict.fromkeys(ORIGINS, 7), peers=others)
        made.append(master)
    return made


def status(master: Master) -> Status:
    assert master.status is not None
    return master.status


def test_equal_vectors_and_live_links_are_in_sync(masters: list[Master]) -> None:
    assert out_of_sync(masters) == []


def test_a_node_without_a_report_is_not_in_sync(masters: list[Master]) -> None:
    masters[1].status = None
    assert out_of_sync(masters) == ["node bb has not reported"]


def test_a_node_with_an_older_vector_lacks_changes(masters: list[Master]) -> None:
    status(masters[2]).vector["aa"] = 6
    assert out_of_sync(masters) == ["node cc lacks changes of node aa"]


def test_changes_of_an_unknown_origin_are_lacking(masters: list[Master]) -> None:
    status(masters[0]).vector["earlier incarnation"] = 1
    assert out_of_sync(masters) == [
        "node bb lacks changes of earlier incarnation",
        "node cc lacks changes of earlier incarnation",
    ]


def test_a_link_that_is_down_is_not_in_sync(masters: list[Master]) -> None:
    status(masters[0]).peers[1].state = "waiting"
    status(masters[0]).peers[1].last_error = "refused"
    del status(masters[1]).peers[0]
    assert out_of_sync(masters) == ["node aa and node cc: waiting, refused", "node bb has not met node aa"]


def test_different_key_counts_are_not_in_sync(masters: list[Master]) -> None:
    status(masters[0]).keys = 4
    assert out_of_sync(masters) == ["keys: node aa 4, node bb 5, node cc 5"]


def test_behind_is_the_greatest_report_of_the_others(masters: list[Master]) -> None:
    status(masters[0]).peers[0].behind = 3
    status(masters[2]).peers[1].behind = 8
    assert [behind(master, masters) for master in masters] == [0, 8, 0]
