"""Messages of LevelDB are shown as text, not as the bytes that plyvel raises."""

from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.node.client_session import failure_of


def test_clients_get_text() -> None:
    assert failure_of(1, plyvel.CorruptionError(b"Corruption: x")).text == "a LevelDB of the node failed: Corruption: x"


def test_a_failed_replica_names_the_error_as_text(tmp_path: Path) -> None:
    with lrep.open(tmp_path) as replica:
        error = replica._node.store._state.fail("a write", plyvel.CorruptionError(b"Corruption: block"))
        assert str(error).startswith("a write failed: Corruption: block.")
    with pytest.raises(lrep.ClosedError):
        replica.put(b"k", b"v")
