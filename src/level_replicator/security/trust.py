"""Whose certificates are welcome: pins of servers, and the list of trusted fingerprints.

The rules, which fail closed:

1. A server with a pin must show a certificate of that pin. If it does not, nothing else is asked.
2. A peer is known if its fingerprint is pinned for some server, or stands in the trusted list.
3. Without `identify` exactly the known are accepted. With it, it is asked about everybody, and what it says counts.
"""

import logging
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import parse_fingerprint
from level_replicator.core.limits import MAX_TRUSTED_BYTES
from level_replicator.security.small_file import read_small_file

_log = logging.getLogger("level_replicator.security")


@dataclass(frozen=True)
class Pin:
    """Of one server. `fingerprints`: any of them, so that a key can be exchanged."""

    fingerprints: frozenset[str]
    read_only: bool = False


class Trust:
    """`pins`: address of a server → its pin. `trusted`: fingerprints that are welcome from anywhere."""

    def __init__(self, pins: Mapping[str, Pin], trusted: Iterable[str] = ()) -> None:
        self.pins = dict(pins)
        self.trusted = frozenset(trusted)
        self._pinned = frozenset(each for pin in pins.values() for each in pin.fingerprints)
        self._read_only = frozenset(each for pin in pins.values() if pin.read_only for each in pin.fingerprints)

    def is_pinned_otherwise(self, server: str | None, fingerprint: str) -> bool:
        """Whether this cannot be the server that was dialled."""
        pin = self.pins.get(server) if server is not None else None
        return pin is not None and fingerprint not in pin.fingerprints

    def knows(self, fingerprint: str) -> bool:
        return fingerprint in self._pinned or fingerprint in self.trusted

    def is_read_only(self, fingerprint: str) -> bool:
        """Whoever dialled: the role goes with the key."""
        return fingerprint in self._read_only

    def replace_trusted(self, trusted: Iterable[str]) -> frozenset[str]:
        """A new list. The fingerprints that are not known any more."""
        before, self.trusted = self.trusted, frozenset(trusted)
        return frozenset(each for each in before - self.trusted if not self.knows(each))


class TrustedFile:
    """A text file of fingerprints, one a line; what follows it, and lines that begin with #, are for people."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: bytes | None = None

    def load(self) -> frozenset[str]:
        """All of it. Raises ConfigError when it cannot be read, or a line is no fingerprint."""
        raw = self._read()
        found, mistakes = _parse(raw)
        if mistakes:
            raise ConfigError(f"trusted: {self.path}, {mistakes[0]}")
        self._last = raw
        return found

    def reload(self) -> tuple[frozenset[str], list[str]] | None:
        """What it holds now, and what is wrong with it; None when it has not changed. A line that is none trusts
        nobody, and neither does a file that cannot be read."""
        try:
            raw = self._read()
        except ConfigError as error:
            if self._last == b"":
                return None
            self._last = b""
            return frozenset(), [f"nobody is trusted: {error}"]
        if raw == self._last:
            return None
        self._last = raw
        return _parse(raw)

    def _read(self) -> bytes:
        raw = read_small_file(self.path, MAX_TRUSTED_BYTES, "trusted")
        with suppress(OSError):  # it may be exchanged just now
            if raw != self._last and os.stat(self.path).st_mode & stat.S_IWOTH:
                _log.warning("%s can be written by everybody, who could let anybody in: chmod o-w", self.path)
        return raw


def _parse(raw: bytes) -> tuple[frozenset[str], list[str]]:
    found, mistakes = set(), []
    # not splitlines: a form feed, or a separator of Unicode, would end a comment that everybody else sees going on
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.add(parse_fingerprint(words[0]))
        except ConfigError as error:
            mistakes.append(f"line {number}: {error}")
    return frozenset(found), mistakes
