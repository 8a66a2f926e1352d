import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from level_replicator import plyvel
from level_replicator.database.database import Database
from tests.unit.database.writers import StraightWriter


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[plyvel.DB]:
    db = plyvel.DB(os.fspath(tmp_path / "db"), create_if_missing=True)
    yield db
    db.close()


@pytest.fixture
def writer(raw: plyvel.DB) -> StraightWriter:
    return StraightWriter(raw)


@pytest.fixture
def db(raw: plyvel.DB, writer: StraightWriter) -> Iterator[Database]:
    database = Database(raw, writer, sync_default=False)
    yield database
    database.close()
