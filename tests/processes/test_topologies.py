"""Every topology, all nodes writing at once, nodes killed, links cut and healed: in the end all are equal."""

from pathlib import Path

import pytest

from tests.processes.cluster import TOPOLOGIES, Cluster


@pytest.mark.parametrize("few", [True, False], ids=["few keys", "many keys"])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_all_end_up_equal(tmp_path: Path, name: str, few: bool) -> None:
    cluster = Cluster(tmp_path, TOPOLOGIES[name], seed=len(name))
    try:
        cluster.start()
        cluster.write_everywhere(60, few)
        cluster.settle()
        cluster.stop()
        cluster.check()
    finally:
        for master in cluster.masters:
            master.kill()
        cluster.relay.close()
