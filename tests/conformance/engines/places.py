"""Where an engine is opened: a directory or a virtual disk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from unittest import mock

from level_replicator.storage.engine import plyvel as engine
from level_replicator.storage.engine.base import Engine
from tests.harness import bindings
from tests.harness.memory_engine import MemoryEngine
from tests.harness.virtual_disk import VirtualDisk


class Place(Protocol):
    """What survives the engines that are opened on it."""

    def open(self) -> Engine: ...

    def copy(self) -> "Place":
        """A copy; of a place that is not open."""

    def restore(self) -> None:
        """Deletes the place and puts a backup of it, made just before, into its stead."""


class DirectoryPlace:
    def __init__(self, path: Path, binding: str) -> None:
        self.path = path
        self._binding = binding

    def open(self) -> Engine:
        with mock.patch.object(engine, "plyvel", bindings.import_binding(self._binding)):
            return engine.open_engine(self.path)

    def copy(self) -> "DirectoryPlace":
        copy = shutil.copytree(self.path, self.path.with_name(self.path.name + "-copy"))
        return DirectoryPlace(Path(copy), self._binding)

    def restore(self) -> None:
        backup = self.copy()
        # Nobody restores within one tick of the file system's clock, but a test may
        probe = self.path.with_name("probe")
        while True:
            probe.write_bytes(b"")
            if probe.stat().st_ctime_ns > (backup.path / "LOCK").stat().st_ctime_ns:
                break
        shutil.rmtree(self.path)
        shutil.copytree(backup.path, self.path)


class DiskPlace:
    def __init__(self, disk: VirtualDisk) -> None:
        self.disk = disk

    def open(self) -> Engine:
        return MemoryEngine(self.disk, "memory")

    def copy(self) -> "DiskPlace":
        return DiskPlace(self.disk.copy())

    def restore(self) -> None:
        self.disk = self.disk.copy()


PLACES: dict[str, Callable[[Path], Place]] = {
    "plyvel": lambda path: DirectoryPlace(path / "db", "plyvel"),
    "plyvel_next": lambda path: DirectoryPlace(path / "db", "plyvel_next"),
    "memory": lambda _: DiskPlace(VirtualDisk()),
}

PARAMETERS = [*bindings.EACH, "memory"]
"""The places as parameters of tests; a binding that is not installed is skipped."""
