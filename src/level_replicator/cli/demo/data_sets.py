"""The data that the demo writes: a directory of files, a .jsonl file or a LevelDB, as keys and values by number.

Keys are read at the start and values when they are used: a data set may be larger than memory.
"""

import base64
import binascii
import contextlib
import fcntl
import json
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import plyvel

from level_replicator.cli.demo.errors import InputError
from level_replicator.core.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES

COMPILED = frozenset({".a", ".dll", ".dylib", ".exe", ".o", ".pyc", ".pyd", ".so", ".whl"})
NOT_SOURCE = frozenset({"__pycache__", "site-packages"})


class DataSet(Protocol):
    """Entries by number. `title` describes the data set; `keys` may hold a key twice."""

    title: str
    keys: list[bytes]

    def value(self, number: int) -> bytes:
        """Return the value of entry `number`. Raises InputError when it cannot be read any more."""

    def close(self) -> None: ...


@contextlib.contextmanager
def open_data_set(source: Path | None, scratch: Path) -> Iterator[DataSet]:
    """Open the data set at `source`; None is Python's standard library. A LevelDB is copied to `scratch` first.

    Raises InputError if `source` does not exist, cannot be read, is of no known kind, or is empty."""
    data = _open(source, scratch)
    try:
        if not data.keys:
            raise InputError(f"{data.title}: nothing in it")
        yield data
    finally:
        data.close()


def _open(source: Path | None, scratch: Path) -> DataSet:
    if source is None:
        return Files(Path(sysconfig.get_path("stdlib")), "the standard library of Python", source_only=True)
    try:
        if (source / "CURRENT").is_file():
            return LevelDb(source, scratch)
        if source.is_dir():
            return Files(source, str(source), source_only=False)
        if source.is_file() and source.suffix == ".jsonl":
            return JsonLines(source)
        problem = "neither a directory, a .jsonl file nor a LevelDB" if source.exists() else "does not exist"
    except OSError as error:
        problem = error.strerror or str(error)
    raise InputError(f"{source}: {problem}")


class Files:
    """Regular files below a directory: relative path → bytes. Symbolic links are not followed."""

    def __init__(self, root: Path, title: str, *, source_only: bool) -> None:
        self.title = title
        self._root = root
        self.keys = sorted(os.fsencode(path) for path in self._paths(source_only))

    def _paths(self, source_only: bool) -> Iterator[str]:
        for folder, folders, names in os.walk(self._root, onerror=_refuse):
            if source_only:
                folders[:] = [name for name in folders if name not in NOT_SOURCE]
            for name in names:
                path = Path(folder, name)
                if path.is_symlink() or not path.is_file() or (source_only and path.suffix in COMPILED):
                    continue
                key = os.path.relpath(path, self._root)
                _check_size(str(path), len(os.fsencode(key)), path.stat().st_size)
                yield key

    def value(self, number: int) -> bytes:
        path = self._root / os.fsdecode(self.keys[number])
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error

    def close(self) -> None:
        pass


class JsonLines:
    """A file with one object a line: {"key": text, "value": text}, or key_base64 and value_base64 for bytes."""

    def __init__(self, path: Path) -> None:
        self.title = str(path)
        self.keys: list[bytes] = []
        self._offsets: list[int] = []
        self._file = path.open("rb")
        try:
            offset = 0
            for number, line in enumerate(self._file, 1):
                if line.strip():
                    key, value = _parse(line, f"{path}, line {number}")
                    _check_size(f"{path}, line {number}", len(key), len(value))
                    self.keys.append(key)
                    self._offsets.append(offset)
                offset += len(line)
        except BaseException:
            self._file.close()
            raise

    def value(self, number: int) -> bytes:
        # pread: the feeders share this file, and a seek of one must not move the other.
        offset = self._offsets[number]
        end = self._offsets[number + 1] if number + 1 < len(self._offsets) else os.fstat(self._file.fileno()).st_size
        line = os.pread(self._file.fileno(), end - offset, offset).split(b"\n", 1)[0]
        return _parse(line, f"{self.title}, entry {number + 1}")[1]

    def close(self) -> None:
        self._file.close()


class LevelDb:
    """A copy of a LevelDB. Opening a LevelDB writes to it, so the original is never opened."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.title = str(path)
        _refuse_open_level_db(path)
        self._copy = scratch / "input"
        try:
            shutil.copytree(path, self._copy, ignore=shutil.ignore_patterns("LOCK"))
            self._db = plyvel.DB(str(self._copy))
        except (plyvel.Error, OSError, shutil.Error) as error:
            raise InputError(f"{path}: not a LevelDB that can be read: {_text(error)}") from error
        try:
            with self._db.iterator(include_value=False) as keys:
                self.keys = list(keys)
        except plyvel.Error as error:
            self._db.close()
            raise InputError(f"{path}: not a LevelDB that can be read: {_text(error)}") from error

    def value(self, number: int) -> bytes:
        try:
            value = self._db.get(self.keys[number])
        except plyvel.Error as error:
            raise InputError(f"{self.title}: {_text(error)}") from error
        if value is None:
            raise InputError(f"{self.title}: an entry of it can no longer be read")
        return value

    def close(self) -> None:
        self._db.close()
        shutil.rmtree(self._copy, ignore_errors=True)


def _refuse_open_level_db(path: Path) -> None:
    try:
        with (path / "LOCK").open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, PermissionError):
        return
    except OSError as error:
        raise InputError(f"{path}: a program has this LevelDB open; a copy made now could be torn") from error


def _parse(line: bytes, where: str) -> tuple[bytes, bytes]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {_text(error)}") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: not a JSON object")
    return _field(entry, "key", where), _field(entry, "value", where)


def _field(entry: dict[str, object], name: str, where: str) -> bytes:
    given = [wanted for wanted in (name, f"{name}_base64") if isinstance(entry.get(wanted), str)]
    if len(given) != 1:
        raise InputError(f'{where}: wants "{name}" or "{name}_base64", one of them, as text')
    text = str(entry[given[0]])
    try:
        return base64.b64decode(text, validate=True) if given[0] != name else text.encode()
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: {given[0]}: {_text(error)}") from error


def _check_size(where: str, key_bytes: int, value_bytes: int) -> None:
    if key_bytes > MAX_KEY_BYTES:
        raise InputError(f"{where}: a key of {key_bytes} bytes; at most {MAX_KEY_BYTES} are taken")
    if value_bytes > MAX_VALUE_BYTES:
        raise InputError(f"{where}: a value of {value_bytes} bytes; at most {MAX_VALUE_BYTES} are taken")


def _refuse(error: OSError) -> None:
    raise error


def _text(error: BaseException) -> str:
    argument = error.args[0] if error.args else ""
    text = argument.decode(errors="replace") if isinstance(argument, bytes) else str(error)
    return " ".join(text.split()) or type(error).__name__
