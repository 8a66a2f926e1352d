"""The bindings to LevelDB as parameters of tests: one that is not installed is skipped, with the reason."""

import importlib
import platform
from types import ModuleType

import pytest

from level_replicator.leveldb import BINDINGS

NAMES = ("plyvel", "plyvel_next")


def is_installed(name: str) -> bool:
    return name in {binding.__name__ for binding in BINDINGS}


def import_binding(name: str) -> ModuleType:
    """The binding. Skips the test that runs, when it is not installed."""
    if not is_installed(name):
        pytest.skip(reason(name))
    return importlib.import_module(name)


def reason(name: str) -> str:
    return f"{name} is not installed (Python {platform.python_version()})"


EACH = [pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=reason(name))) for name in NAMES]
BOTH = pytest.mark.skipif(len(BINDINGS) < 2, reason=" and ".join(reason(n) for n in NAMES if not is_installed(n)))
