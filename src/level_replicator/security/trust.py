"""The rules of trust: pinned fingerprints of servers, and the list of trusted fingerprints.

The rules fail closed:

1. A server with a pin must present a certificate of that pin. Otherwise it is rejected without further checks.
2. A peer is *known* if its fingerprint is pinned for any server, or is in the trusted list.
3. Without `identify` exactly the known peers are accepted. With `identify`, its decision counts, for all peers.
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
    """The pin of a server.

    fingerprints  the server must present one of them; several allow for replacing its key
    read_only     True if nothing is accepted from the server
    """

    fingerprints: frozenset[str]
    read_only: bool = False


class Trust:
    """The pins of servers and the trusted fingerprints.

    pins     address of a server → its pin
    trusted  fingerprints that are accepted from any address
    """

    def __init__(self, pins: Mapping[str, Pin], trusted: Iterable[str] = ()) -> None:
        self.pins = dict(pins)
        self.trusted = frozenset(trusted)
        self._pinned = frozenset(each for pin in pins.values() for each in pin.fingerprints)
        self._read_only = frozenset(each for pin in pins.values() if pin.read_only for each in pin.fingerprints)

    def contradicts_pin(self, server: str | None, fingerprint: str) -> bool:
        """Return True if the dialled server has a pin that does not include this fingerprint."""
        pin = self.pins.get(server) if server is not None else None
        return pin is not None and fingerprint not in pin.fingerprints

    def knows(self, fingerprint: str) -> bool:
        """Return True if the fingerprint is pinned or trusted."""
        return fingerprint in self._pinned or fingerprint in self.trusted

    def is_read_only(self, fingerprint: str) -> bool:
        """Return True if a read-only server has this fingerprint. Which side dialled does not matter."""
        return fingerprint in self._read_only

    def replace_trusted(self, trusted: Iterable[str]) -> frozenset[str]:
        """Replace the trusted list. Returns the removed fingerprints that are not known any more."""
        before, self.trusted = self.trusted, frozenset(trusted)
        return frozenset(each for each in before - self.trusted if not self.knows(each))


class TrustedFile:
    """The trusted list: a text file with one fingerprint a line.

    Text after a fingerprint, and lines that begin with #, are comments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: bytes | None = None

    def load(self) -> frozenset[str]:
        """Return the fingerprints. Raises ConfigError if the file cannot be read, or a line is not a fingerprint."""
        raw = self._read()
        found, mistakes = _parse(raw)
        if mistakes:
            raise ConfigError(f"trusted: {self.path}, {mistakes[0]}")
        self._last = raw
        return found

    def reload(self) -> tuple[frozenset[str], list[str]] | None:
        """Return (fingerprints, errors) if the file has changed, else None.

        A line that is not a fingerprint is reported as an error and trusts nobody. A file that cannot be read trusts
        nobody either."""
        try:
            raw = self._read()
        except ConfigError as error:
            if self._last == b"":
                return None
            self._last = b""
            return frozenset(), [f"nobody is trusted, since the file cannot be read: {error}"]
        if raw == self._last:
            return None
        self._last = raw
        return _parse(raw)

    def _read(self) -> bytes:
        raw = read_small_file(self.path, MAX_TRUSTED_BYTES, "trusted")
        with suppress(OSError):  # the file may be replaced at this moment
            if raw != self._last and os.stat(self.path).st_mode & stat.S_IWOTH:
                _log.warning(
                    "%s can be written by every user, so that any of them could add trusted peers: run chmod o-w",
                    self.path,
                )
        return raw


def _parse(raw: bytes) -> tuple[frozenset[str], list[str]]:
    found, mistakes = set(), []
    # not splitlines, which would end a comment at a form feed or a Unicode separator that editors show within the line
    for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.add(parse_fingerprint(words[0]))
        except ConfigError as error:
            mistakes.append(f"line {number}: {error}")
    return frozenset(found), mistakes
