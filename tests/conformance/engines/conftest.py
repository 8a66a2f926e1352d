"""Every test that asks for `place` or `engine` runs once per engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from level_replicator.storage.engine.base import Engine
from tests.conformance.engines.places import PARAMETERS, PLACES, Place


@pytest.fixture(params=PARAMETERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    engine = place.open()
    yield engine
    engine.close()
