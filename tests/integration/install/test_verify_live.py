"""A repair on a live node, beside a peer that goes on writing."""

import gc
import os
import threading
import warnings
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator import plyvel
from tests.harness.waiting import wait_until


@pytest.mark.parametrize("number", range(3))
def test_what_is_lost_comes_back_though_the_peer_writes_meanwhile(tmp_path: Path, number: int) -> None:
    """A frame that was on its way must not take the vector back to where it was before the loss."""
    key = b"%05d" % (1_000 + number)
    raw, rs = (plyvel.DB(os.fspath(tmp_path / name), create_if_missing=True) for name in ("db", "rs"))
    stop, writing = threading.Event(), threading.Event()
    with lrep.open(tmp_path / "peer", {"port": 0}) as peer:
        with peer.write_batch() as batch:
            for i in range(3_000):
                batch.put(b"%05d" % i, b"v" * 50)
        assert peer.address is not None
        with lrep.install(raw, rs, {"servers": {f"127.0.0.1:{peer.address[1]}": {}}}) as node:
            assert node.wait_synced(30)
            node.truncate()

            def write() -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    peer.put(b"w%03d" % (number % 500), b"%d" % number)
                    if number == 500:
                        writing.set()

            thread = threading.Thread(target=write)
            thread.start()
            try:
                assert writing.wait(30)
                raw.delete(key)
                report = node.verify(repair=True)
            finally:
                stop.set()
                thread.join()
            assert (report.missing, report.lost, report.left, report.new_origin) == (1, 1, 0, False)
            wait_until(lambda: node.get(key) is not None, "the value that was lost")
            assert node.wait_synced(30)
            assert node.get(key) == peer.get(key)
            assert node.verify().sound


def test_a_comparison_that_a_closed_replica_refuses_leaves_no_coroutine(tmp_path: Path) -> None:
    replica = lrep.open(tmp_path / "closed")
    replica.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(lrep.ClosedError):
            replica.verify("127.0.0.1:9")
        gc.collect()
    assert not [each for each in caught if "never awaited" in str(each.message)]
