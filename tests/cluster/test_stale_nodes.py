"""No write is lost to an older write of the same author, however long a node was away and whatever was dropped."""

from pathlib import Path

import pytest

from tests.cluster.stale_nodes import TOPOLOGIES, stale_nodes


@pytest.mark.parametrize(("topology", "seed"), [(topology, seed) for seed, topology in enumerate(TOPOLOGIES, 1)])
def test_single_author_keys_end_as_their_author_left_them(topology: str, seed: int, tmp_path: Path) -> None:
    with stale_nodes(tmp_path, topology, seed) as run:
        outcome = run.run()
    assert outcome.holds, str(outcome)
