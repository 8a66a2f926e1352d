"""A full disk: a limit on the size of files makes LevelDB's writes fail for real."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import level_replicator as lrep
from tests.harness.compare import check_equal
from tests.harness.local_node import LocalNode, wait_in_sync
from tests.harness.waiting import DEADLINE_S

Make = Callable[..., LocalNode]

CHILD = """
import json, resource, sys
from random import Random
import level_replicator as lrep

folder, server, limit, sync = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "sync"
replica = lrep.open(folder, {"servers": {server: {}}, "sync": sync})
replica.wait_synced(60)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
value = Random(1)
written = 0
said = None
while said is None:
    try:
        replica.put(b"own %d" % written, value.randbytes(1_000))
        written += 1
    except lrep.StorageError as error:
        said = str(error)
again = None
try:
    replica.put(b"later", b"value")
except lrep.StorageError as error:
    again = str(error)
readable = replica.get(b"own 0") is not None and replica.get(b"of peer") == b"value"
print(json.dumps({"written": written, "said": said, "again": again, "readable": readable,
                  "failed": replica.status()["failed"]}), flush=True)
try:
    replica.close()
except lrep.StorageError:
    pass
"""


@pytest.mark.parametrize("sync", ["sync", "not"])
def test_acknowledged_writes_are_kept_and_no_more_are_accepted(master: Make, tmp_path: Path, sync: str) -> None:
    peer = master("peer")
    peer.put(b"of peer", b"value")
    folder = tmp_path / "full"
    command = [sys.executable, "-c", CHILD, str(folder), peer.address, str(2_000_000), sync]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["written"] > 100
    assert "No more writes are taken" in told["said"]
    assert told["again"] == told["failed"] == told["said"]
    assert told["readable"], "it goes on answering reads"
    with lrep.open(folder) as replica:
        value = Random(1)
        for number in range(told["written"]):
            assert replica.get(b"own %d" % number) == value.randbytes(1_000)
        assert replica.verify().sound
        replica.put(b"later", b"value")
    repaired_rows = master("full", [peer.address])
    wait_in_sync(peer, repaired_rows)
    peer.close()
    repaired_rows.close()
    assert check_equal([peer.folder, repaired_rows.folder])[0].db[b"later"] == b"value"
