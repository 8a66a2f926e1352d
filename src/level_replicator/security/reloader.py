"""Reload the key file and the trusted list while a node runs, so that keys can be replaced and revoked.

The contents are compared, not the modification times: two changes within one tick of the file system's clock have the
same time.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import CREDENTIAL_RELOAD_INTERVAL_S
from level_replicator.net.offload import on_daemon_thread
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.trust import TrustedFile

if TYPE_CHECKING:
    from level_replicator.security.tls import Contexts

_log = logging.getLogger("level_replicator.security")


class CredentialReloader:
    """Reloads the credentials that are files.

    `trusted` is the file of trusted fingerprints, or None. `reload_key` returns the TLS contexts of a changed key file,
    or None if it has not changed, and raises ConfigError; it is None if the key is not a file."""

    def __init__(self, trusted: TrustedFile | None, reload_key: "Callable[[], Contexts | None] | None") -> None:
        self._trusted = trusted
        self._reload_key = reload_key
        self._last_error = ""

    async def run(self, security: NodeSecurity, revoke: Callable[[frozenset[str]], None]) -> None:
        """Reload the files periodically, until cancelled.

        `revoke` must disconnect the peers and clients with these fingerprints."""
        while True:
            await asyncio.sleep(CREDENTIAL_RELOAD_INTERVAL_S)
            try:
                await self.reload(security, revoke)
            except Exception as error:  # the task must survive: without it no key could be revoked
                self._log_new_error(
                    f"reloading the key files failed and will be tried again: {type(error).__name__}: {error}"
                )

    async def reload(self, security: NodeSecurity, revoke: Callable[[frozenset[str]], None]) -> None:
        """Reload the files once. The reads run on threads, so that a disk that hangs does not block the event loop."""
        if self._trusted is not None:
            found = await on_daemon_thread(self._trusted.reload, "reader of the trusted list")
            if found is not None:
                fingerprints, mistakes = found
                for mistake in mistakes:
                    _log.error("trusted: %s: %s", self._trusted.path, mistake)
                gone = security.trust.replace_trusted(fingerprints)
                _log.info(
                    "the trusted list changed: it has %d fingerprints now, %d were removed",
                    len(fingerprints),
                    len(gone),
                )
                revoke(gone)
        if self._reload_key is not None:
            try:
                contexts = await on_daemon_thread(self._reload_key, "reader of the key file")
            except ConfigError as error:
                self._log_new_error(f"{error}; the node continues with its present key")
            else:
                self._last_error = ""
                if contexts is not None:
                    security.contexts = contexts
                    _log.info("the key file changed: new connections use the new key")

    def _log_new_error(self, text: str) -> None:
        if text != self._last_error:
            self._last_error = text
            _log.error("%s", text)
