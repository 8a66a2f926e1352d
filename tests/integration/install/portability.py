"""Run as a script: import every module, and replicate, on a Python that lacks what exists on POSIX only.

Prints one line for each module that cannot be imported, and `replicated` at the end."""

import importlib
import importlib.abc
import importlib.machinery
import os
import pkgutil
import signal
import socket
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

MODULES = {"curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
NAMES: dict[types.ModuleType, tuple[str, ...]] = {
    os: (
        *("fork", "register_at_fork", "getuid", "geteuid", "getloadavg", "sched_getaffinity", "fchmod", "chown"),
        *("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECTORY", "uname", "statvfs", "getpgid", "setsid"),
    ),
    signal: ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM"),
    socket: ("AF_UNIX",),
}


class _Refuse(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def take_posix_away() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Refuse())
    # Windows has one without Unix sockets; the standard library of other systems needs it for its own event loop
    socket.socketpair = partial(socket.socketpair, socket.AF_UNIX)
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def import_everything() -> None:
    import level_replicator

    def failed(name: str) -> None:
        print(f"{name}: {sys.exc_info()[1]!r}")

    for module in pkgutil.walk_packages(level_replicator.__path__, "level_replicator.", onerror=failed):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except Exception:
            failed(module.name)


def replicate(folder: Path) -> None:
    import level_replicator as lrep

    with lrep.open(folder / "a", {"port": 0}) as a:
        assert a.address is not None
        with lrep.open(folder / "b", {"servers": {f"127.0.0.1:{a.address[1]}": {}}}) as b:
            a.put(b"key", b"value")
            assert b.wait_synced(30)
            assert dict(b) == {b"key": b"value"}
        _refused(lrep.LockedError, lambda: lrep.open(folder / "a"))
        _refused(lrep.ConfigError, lambda: lrep.open(folder / "c", share=True))
        _refused(lrep.ConfigError, lambda: lrep.connect(folder / "a"))
    with lrep.open(folder / "a") as a:
        assert a.verify().found == 0
    db, rs = (lrep.plyvel.DB(str(folder / "a" / name)) for name in ("db", "rs"))
    with lrep.install(db, rs):
        _refused(lrep.LockedError, lambda: lrep.install(db, rs))
    print("replicated")


def _refused(error: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}")


if __name__ == "__main__":
    take_posix_away()
    import_everything()
    replicate(Path(sys.argv[1]))
