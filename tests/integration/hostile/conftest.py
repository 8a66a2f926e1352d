from collections.abc import Iterator

import pytest

from tests.integration.hostile.masters import Masters


@pytest.fixture(scope="module")
def shared_masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Masters]:
    masters = Masters(tmp_path_factory.mktemp("masters"))
    yield masters
    masters.close()


@pytest.fixture
def masters(shared_masters: Masters) -> Iterator[Masters]:
    """Yield the nodes, and assert that the honest peer keeps its connection and is served afterwards."""
    link = shared_masters.victim.node.coordinator.by_origin[shared_masters.honest.store.origin]
    yield shared_masters
    assert shared_masters.victim.node.coordinator.by_origin.get(shared_masters.honest.store.origin) is link
    shared_masters.check_served()


@pytest.fixture
def nothing_applied(masters: Masters) -> Iterator[None]:
    before = masters.victim.dump()
    yield
    assert masters.victim.dump() == before
