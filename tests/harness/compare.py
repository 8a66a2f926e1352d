"""The invariants of nodes that have exchanged everything, and of each node alone, checked on their disks."""

import traceback
from pathlib import Path
from zlib import crc32

import plyvel

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
            self.index = {key[1:]: decode_index(line) for key, line in reader.scan(INDEX, following(INDEX))}
            self.log = {log_dot(key): decode_entry(line) for key, line in reader.scan(LOG, following(LOG))}
        finally:
            rs.close()
            db.close()

    def logged(self, *, tombstones: bool) -> set[tuple[int, int]]:
        """Return the dots of the entries in the log, with or without tombstones."""
        return {dot for dot, entry in self.log.items() if tombstones or entry.value is not None}


def check_invariant(contents: Contents) -> None:
    """Assert that the log holds exactly the index rows above the floor, and the database exactly the live ones."""
    logged = {
        (line.stamp, line.origin): key
        for key, line in contents.index.items()
        if line.stamp > contents.floor.get(line.origin, 0)
    }
    assert logged == {dot: entry.key for dot, entry in contents.log.items()}
    for (stamp, origin), entry in contents.log.items():
        line = contents.index[entry.key]
        assert (entry.stamp, entry.flags & 1, entry.checksum) == (stamp, line.flags & 1, line.checksum)
        assert stamp <= contents.vector.get(origin, 0)
    live = {key: line.checksum for key, line in contents.index.items() if not line.deleted}
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


def what_differs(folders: list[Path]) -> str:
    """Return which assertion of `check_equal` does not hold, or an empty text."""
    try:
        check_equal(folders)
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return f"{line}: {error}"
    return ""
