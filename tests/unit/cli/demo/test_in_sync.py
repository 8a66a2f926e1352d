"""The conditions for nodes to be in sync, and the report when they are not."""

from pathlib import Path

import pytest

from level_replicator.cli.demo.checks import behind, out_of_sync
from level_replicator.cli.demo.node import DemoNode, PeerStatus, Status

ORIGINS = ["aa", "bb", "cc"]


def peer(origin: str, *, state: str = "live", behind: int = 0) -> PeerStatus:
    return PeerStatus(address="", origin=origin, state=state, last_error=None, behind=behind, bytes_in=0, entries_in=0)


@pytest.fixture
def nodes(tmp_path: Path) -> list[DemoNode]:
    made = []
    for origin in ORIGINS:
        node = DemoNode(f"node {origin}", tmp_path / origin, [])
        others = [peer(other) for other in ORIGINS if other != origin]
        node.status = Status(origin=origin, keys=5, vector=dict.fromkeys(ORIGINS, 7), peers=others)
        made.append(node)
    return made


def status(node: DemoNode) -> Status:
    assert node.status is not None
    return node.status


def test_equal_vectors_and_live_links_are_in_sync(nodes: list[DemoNode]) -> None:
    assert out_of_sync(nodes) == []


def test_a_node_without_a_report_is_not_in_sync(nodes: list[DemoNode]) -> None:
    nodes[1].status = None
    assert out_of_sync(nodes) == ["node bb has not reported"]


def test_a_node_with_an_older_vector_lacks_changes(nodes: list[DemoNode]) -> None:
    status(nodes[2]).vector["aa"] = 6
    assert out_of_sync(nodes) == ["node cc lacks changes of node aa"]


def test_changes_of_an_unknown_origin_are_lacking(nodes: list[DemoNode]) -> None:
    status(nodes[0]).vector["earlier incarnation"] = 1
    assert out_of_sync(nodes) == [
        "node bb lacks changes of earlier incarnation",
        "node cc lacks changes of earlier incarnation",
    ]


def test_a_link_that_is_down_is_not_in_sync(nodes: list[DemoNode]) -> None:
    status(nodes[0]).peers[1].state = "waiting"
    status(nodes[0]).peers[1].last_error = "refused"
    del status(nodes[1]).peers[0]
    assert out_of_sync(nodes) == ["node aa and node cc: waiting, refused", "node bb has not met node aa"]


def test_different_key_counts_are_not_in_sync(nodes: list[DemoNode]) -> None:
    status(nodes[0]).keys = 4
    assert out_of_sync(nodes) == ["keys: node aa 4, node bb 5, node cc 5"]


def test_behind_is_the_greatest_report_of_the_others(nodes: list[DemoNode]) -> None:
    status(nodes[0]).peers[0].behind = 3
    status(nodes[2]).peers[1].behind = 8
    assert [behind(node, nodes) for node in nodes] == [0, 8, 0]
