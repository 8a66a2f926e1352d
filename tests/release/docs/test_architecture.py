"""ARCHITECTURE.md names every folder and only modules that exist, and no folder has too many modules."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "level_replicator"
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
DIAGRAMS = "".join(path.read_text("utf-8") for path in sorted((ROOT / "docs" / "diagrams").glob("*.txt")))
MAX_LINES = 120
"""Two printed pages."""
MAX_MODULES = 12
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_a_folder_is_named_and_has_few_modules(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES, modules
    name = folder.relative_to(PACKAGE)
    if len(name.parts) == 1:
        assert f'"{name}"' in DIAGRAMS
    elif name.parts[0] == "storage":
        assert f"| `{name}` |" in PAGE


def test_every_module_that_is_named_exists() -> None:
    named = set(re.findall(r"\b(?:[a-z_]+/)+[a-z_]+\.py\b", PAGE + DIAGRAMS))
    assert len(named) > 20
    assert not [name for name in sorted(named) if not (PACKAGE / name).exists()]


def test_it_fits_two_pages() -> None:
    assert len(PAGE.splitlines()) <= MAX_LINES
