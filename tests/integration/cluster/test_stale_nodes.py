"""No write is lost to an older write of the same author, however long a node was away and whatever was truncated."""

from pathlib import Path

import pytest

from tests.integration.cluster.authors import Author, own_operation
from tests.integration.cluster.stale_nodes import TOPOLOGIES, stale_nodes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("topology", "seed"), [(topology, seed) for seed, topology in enumerate(TOPOLOGIES, 1)])
def test_single_author_keys_end_with_the_last_write_of_their_author(topology: str, seed: int, tmp_path: Path) -> None:
    with stale_nodes(tmp_path, topology, seed) as run:
        outcome = run.run()
    assert outcome.holds, str(outcome)


def test_values_that_an_author_allows() -> None:
    """Each key may hold its acknowledged operation, or one that was in flight at a later kill."""
    serials = [serial for serial in range(2_000) if own_operation(1, 0, serial)[0] == own_operation(1, 0, 0)[0]]
    first, second, third, fourth = serials[:4]
    key = own_operation(1, 0, first)[0]
    author = Author(seed=1, node=0)
    assert author.allowed()[key] == [None]
    author.ended(-1, killed=True)  # killed at once: only the first one may have been begun
    assert author.allowed()[key] == [None, own_operation(1, 0, first)[1]]
    author.ended(second - 1, killed=True)
    author.ended(third - 1, killed=True)
    in_flight = [own_operation(1, 0, serial)[1] for serial in (second, third)]
    assert author.allowed()[key] == [None, own_operation(1, 0, first)[1], *in_flight]
    author.ended(fourth, killed=False)
    assert author.allowed()[key] == [own_operation(1, 0, fourth)[1]]
    assert author.first == fourth + 1
