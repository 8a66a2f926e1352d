"""Messages of LevelDB are shown as text, not as the bytes that plyvel raises."""

from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from level_replicator.node.client_session import failure_of
from level_replicator.storage.engine.plyvel import error_text


def test_bytes_are_decoded() -> None:
    assert error_text(plyvel.CorruptionError(b"Corruption: block\xff")) == "Corruption: block\ufffd"
    assert error_text(plyvel.Error("text")) == "text"
    assert error_text(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert error_text(plyvel.Error()) == "Error"


def test_clients_get_text() -> None:
    assert failure_of(1, plyvel.CorruptionError(b"Corruption: x")).text == "a LevelDB of the node failed: Corruption: x"


def test_a_failed_replica_names_the_error_as_text(tmp_path: Path) -> None:
    with lrep.open(tmp_path) as replica:
        error = replica._node.store._state.fail("a write", plyvel.CorruptionError(b"Corruption: block"))
        assert str(error).startswith("a write failed: Corruption: block.")
    with pytest.raises(lrep.ClosedError):
        replica.put(b"k", b"v")
