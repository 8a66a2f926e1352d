"""Key file and trusted list are read again while a node runs, so that keys can be exchanged and revoked.

They are read, not only looked at: two changes within one tick of a file system's clock look like one.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import KEYS_LOOKED_AT_EVERY_S
from level_replicator.net.offload import on_daemon_thread
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.trust import TrustedFile

if TYPE_CHECKING:
    from level_replicator.security.tls import Contexts

_log = logging.getLogger("level_replicator.security")


class CredentialReloader:
    """Of what is a file. `reload_key` gives the contexts of a key that is new, or raises ConfigError."""

    def __init__(self, trusted: TrustedFile | None, reload_key: "Callable[[], Contexts | None] | None") -> None:
        self._trusted = trusted
        self._reload_key = reload_key
        self._complaint = ""

    async def run(self, security: NodeSecurity, revoke: Callable[[frozenset[str]], None]) -> None:
        """Look at the files for ever. `revoke` disconnects whoever has one of these fingerprints."""
        while True:
            await asyncio.sleep(KEYS_LOOKED_AT_EVERY_S)
            try:
                await self.look(security, revoke)
            except Exception as error:  # nobody would be revoked any more
                self._complain(f"looking at the key files failed, and is tried again: {type(error).__name__}: {error}")

    async def look(self, security: NodeSecurity, revoke: Callable[[frozenset[str]], None]) -> None:
        """Once. A file on a disk that hangs keeps nobody waiting but this."""
        if self._trusted is not None:
            found = await on_daemon_thread(self._trusted.reload, "reader of the trusted list")
            if found is not None:
                fingerprints, mistakes = found
                for mistake in mistakes:
                    _log.error("trusted: %s: %s", self._trusted.path, mistake)
                gone = security.trust.replace_trusted(fingerprints)
                _log.info("the trusted list has %d fingerprints now; %d left it", len(fingerprints), len(gone))
                revoke(gone)
        if self._reload_key is not None:
            try:
                contexts = await on_daemon_thread(self._reload_key, "reader of the key file")
            except ConfigError as error:
                self._complain(f"{error}; the node goes on with the key it has")
            else:
                self._complaint = ""
                if contexts is not None:
                    security.contexts = contexts
                    _log.info("a new key is used for connections from now on")

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _log.error("%s", text)
