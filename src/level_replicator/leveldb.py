"""The binding to LevelDB: the module `plyvel`, or its fork `plyvel_next`.

plyvel has wheels for CPython up to 3.12. plyvel-next is the same source over a newer LevelDB, under another module
name, and has wheels for CPython 3.12 to 3.14. Each opens the files of the other, but their classes are unrelated: a
`DB` or an `Error` of one is not a `DB` or an `Error` of the other. Only this module imports them. The other modules
open databases with `plyvel` from here, and use the tuples below for handles and errors that may come from either.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plyvel

__all__ = ["BINDINGS", "CORRUPTION_ERRORS", "DB_CLASSES", "LEVELDB_ERRORS", "IteratorInvalidError", "plyvel"]


def _installed_bindings() -> tuple[ModuleType, ...]:
    """Import every binding that is installed, plyvel first.

    Raises ImportError, with the causes, when none can be imported."""
    found: list[ModuleType] = []
    failures: list[str] = []
    for name in ("plyvel", "plyvel_next"):
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:  # also of a module that was built for another Python or LevelDB
            failures.append(f"{name}: {error}")
    if not found:
        raise ImportError(
            f"no LevelDB binding can be imported ({'; '.join(failures)}): install plyvel (Python 3.11 and 3.12)"
            " or plyvel-next (Python 3.12 and later)"
        )
    return tuple(found)


BINDINGS = _installed_bindings()
"""The installed bindings. The first one opens the databases that the library opens itself."""

if not TYPE_CHECKING:
    plyvel = BINDINGS[0]

DB_CLASSES: tuple[type["plyvel.DB"], ...] = tuple(each.DB for each in BINDINGS)
LEVELDB_ERRORS: tuple[type["plyvel.Error"], ...] = tuple(each.Error for each in BINDINGS)
CORRUPTION_ERRORS: tuple[type["plyvel.CorruptionError"], ...] = tuple(each.CorruptionError for each in BINDINGS)


def error_text(error: BaseException) -> str:
    """Return the text of an error. plyvel's errors contain the message of LevelDB as bytes."""
    message = error.args[0] if len(error.args) == 1 else None
    return message.decode("utf-8", "backslashreplace") if isinstance(message, bytes) else str(error)


if TYPE_CHECKING:
    from plyvel import IteratorInvalidError as IteratorInvalidError
elif len(BINDINGS) == 1:
    IteratorInvalidError = plyvel.IteratorInvalidError
else:

    class IteratorInvalidError(*(each.IteratorInvalidError for each in BINDINGS)):
        """The error of every installed binding, for an iterator that belongs to none: callers may catch either."""
