"""The simplest writer: straight into the plyvel.DB."""

from level_replicator import plyvel
from level_replicator.database.arguments import Bytes


class StraightWriter:
    def __init__(self, db: plyvel.DB) -> None:
        self._db = db
        self.syncs: list[bool] = []

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        self.syncs.append(sync)
        self._db.put(key, value, sync=sync)

    def delete(self, key: bytes, sync: bool) -> None:
        self.syncs.append(sync)
        self._db.delete(key, sync=sync)

    def write(self, operations: list[tuple[bytes, Bytes | None]], sync: bool) -> None:
        self.syncs.append(sync)
        batch = self._db.write_batch(sync=sync)
        for key, value in operations:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.write()
