"""The invariants of nodes that have exchanged everything, and of each node alone, checked on their disks."""

import traceback
from pathlib import Path
from zlib import crc32

from level_replicator import plyvel
from level_replicator.core.entry import decode_entry, decode_index
from level_replicator.core.version_vector import Vector
from level_replicator.storage.engine.plyvel import PlyvelEngine
from level_replicator.storage.state.load import load_stamps, load_vector
from level_replicator.storage.state.schema import FLOOR, HORIZON, INDEX, LOG, following, log_dot


class Contents:
    """The contents of one node that is closed."""

    def __init__(self, folder: Path) -> None:
        db = plyvel.DB(str(folder / "db"))
        rs = plyvel.DB(str(folder / "rs"))
        try:
            self.db: dict[bytes, bytes] = dict(db)
            reader = PlyvelEngine(rs)
            self.vector: Vector = load_vector(reader)
            self.floor: Vector = load_stamps(reader, FLOOR)
            self.horizon: Vector = load_stamps(reader, HORIZON)
            self.index = {key[1:]: decode_index(row) for key, row in reader.scan(INDEX, following(INDEX))}
            self.log = {log_dot(key): decode_entry(record) for key, record in reader.scan(LOG, following(LOG))}
        finally:
            rs.close()
            db.close()

    def logged(self, *, tombstones: bool) -> set[tuple[int, int]]:
        """Return the dots of the entries in the log, with or without tombstones."""
        return {dot for dot, entry in self.log.items() if tombstones or entry.value is not None}


def check_invariant(contents: Contents) -> None:
    """Assert that the log holds all index rows above the floor, and the database exactly the live ones.

    This allows entries at or below the floor that came late (ReplicationState.late): a reconciliation may bring an
    entry that the floor has passed already. Each of them must be the entry of an index row, as all others."""
    logged = {
        (row.stamp, row.origin): key
        for key, row in contents.index.items()
        if row.stamp > contents.floor.get(row.origin, 0)
    }
    missing = logged.keys() - contents.log.keys()
    assert not missing, f"rows without an entry: {sorted(missing)[:5]}; floor {contents.floor}"
    for (stamp, origin), entry in contents.log.items():
        row = contents.index[entry.key]
        found = (entry.stamp, origin, entry.flags & 1, entry.checksum)
        assert found == (row.stamp, row.origin, row.flags & 1, row.checksum), f"the entry of {entry.key!r} at {stamp}"
        assert stamp <= contents.vector.get(origin, 0)
    live = {key: row.checksum for key, row in contents.index.items() if not row.deleted}
    assert {key: crc32(value) for key, value in contents.db.items()} == live


def check_equal(folders: list[Path]) -> list[Contents]:
    """Assert equal keys, values, dots and vectors, and the invariant of each node. Return their contents."""
    all_contents = [Contents(folder) for folder in folders]
    first = all_contents[0]
    for contents in all_contents:
        check_invariant(contents)
        assert contents.db == first.db
        assert contents.vector == first.vector
        if not any(each.floor for each in all_contents):
            # of tombstones one node may have dropped more than another one
            same = contents.horizon == first.horizon
            assert contents.logged(tombstones=same) == first.logged(tombstones=same)
    return all_contents


def first_difference(folders: list[Path]) -> str:
    """Return the first assertion of `check_equal` that does not hold, or an empty text."""
    try:
        check_equal(folders)
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return f"{line}: {error}"
    return ""
