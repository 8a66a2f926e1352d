"""The files of a LevelDB that is not open: whether a directory contains one, and whether it is complete."""

import os
import re
from os import PathLike

from level_replicator.core.errors import StorageError

_CURRENT = "CURRENT"
_MANIFEST = re.compile(r"MANIFEST-\d{6,}\Z")
_DATA_FILE = re.compile(r"\d{6,}\.(log|ldb|sst)\Z")


def is_leveldb(path: "str | PathLike[str]") -> bool:
    """Return whether the directory itself contains a LevelDB, complete or without CURRENT.

    Data files alone are not enough, since `20240131.log` may be a log file of another program."""
    names = _names(path)
    return _CURRENT in names or (any(map(_MANIFEST.match, names)) and _has_data(names))


def check_complete(path: "str | PathLike[str]") -> None:
    """Raise StorageError for a directory with data files of a LevelDB, but without its file CURRENT.

    LevelDB would take it for empty, begin a new database, and delete the files. A manifest alone is no data: LevelDB
    writes the first one before CURRENT, so a kill in between leaves it behind."""
    names = _names(path)
    if _CURRENT not in names and _has_data(names):
        raise StorageError(
            f"{os.fspath(path)} has files of a LevelDB, but the file CURRENT is missing, which names its newest"
            " manifest: restore the directory from a backup, repair it with plyvel.repair_db, or move it away"
        )


def _has_data(names: list[str]) -> bool:
    return any(map(_DATA_FILE.match, names))


def _names(path: "str | PathLike[str]") -> list[str]:
    try:
        return os.listdir(path)
    except (OSError, ValueError):  # it does not exist, or cannot be read: opening it raises the error
        return []
