"""ARCHITECTURE.md names every folder, and no folder is too full to be looked through."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "level_replicator"
LAYERS = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
MOST_MODULES = 12
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_a_folder_is_named_and_not_too_full(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, modules
    assert re.search(rf"\b{folder.name}\b", LAYERS)
