"""Reloading the trusted list and the key file."""

import asyncio
from pathlib import Path

import pytest

from level_replicator.core.errors import ConfigError
from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.security import reloader
from level_replicator.security.key_files import load_pems
from level_replicator.security.node_security import NodeSecurity
from level_replicator.security.reloader import CredentialReloader
from level_replicator.security.tls import Contexts
from level_replicator.security.trust import Trust, TrustedFile
from tests.integration.security.keys import pems

A, B, C = (fingerprint_of(name) for name in (b"A", b"B", b"C"))


def _security(*trusted: str) -> NodeSecurity:
    return NodeSecurity(Contexts(load_pems(pems("A"))), Trust({}, trusted), None)


def test_removed_fingerprints_are_revoked(tmp_path: Path) -> None:
    path = tmp_path / "trusted.txt"
    path.write_text(f"{A}\n{B}")
    file = TrustedFile(path)
    security = _security(*file.load())
    revoked: list[frozenset[str]] = []
    keys = CredentialReloader(file, None)
    asyncio.run(keys.reload(security, revoked.append))
    assert revoked == []
    path.write_text(f"{B}\n{C}")
    asyncio.run(keys.reload(security, revoked.append))
    assert revoked == [{A}]
    assert security.trust.trusted == {B, C}


def test_a_wrong_line_is_logged_and_the_others_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trusted.txt"
    path.write_text(A)
    file = TrustedFile(path)
    security = _security(*file.load())
    path.write_text(f"{A}\nnonsense")
    revoked: list[frozenset[str]] = []
    asyncio.run(CredentialReloader(file, None).reload(security, revoked.append))
    assert "line 2" in caplog.text
    assert security.trust.trusted == {A}


def _no_revocation(_fingerprints: frozenset[str]) -> None:
    raise AssertionError("nothing is to be revoked")


def test_a_new_key_is_used() -> None:
    security = _security()
    new = Contexts(load_pems(pems("B")))
    asyncio.run(CredentialReloader(None, lambda: new).reload(security, _no_revocation))
    assert security.contexts is new
    asyncio.run(CredentialReloader(None, lambda: None).reload(security, _no_revocation))
    assert security.contexts is new


def test_a_broken_key_file_keeps_the_present_key_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    security = _security()
    before = security.contexts
    results: list[Exception | None] = [ConfigError("broken"), ConfigError("broken"), None, ConfigError("broken")]

    def reload_key() -> None:
        result = results.pop(0)
        if result is not None:
            raise result

    keys = CredentialReloader(None, reload_key)
    counts = []
    for _ in range(4):
        asyncio.run(keys.reload(security, _no_revocation))
        counts.append(caplog.text.count("broken; the node continues with its present key"))
    assert counts == [1, 1, 1, 2]  # again after it had been in order
    assert security.contexts is before


def test_an_unexpected_error_does_not_end_the_reloading(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reloader, "CREDENTIAL_RELOAD_INTERVAL_S", 0)
    errors = [OSError("unexpected")]

    async def main() -> None:
        loop, again = asyncio.get_running_loop(), asyncio.Event()

        def reload_key() -> None:
            if errors:
                raise errors.pop()
            loop.call_soon_threadsafe(again.set)

        task = asyncio.ensure_future(CredentialReloader(None, reload_key).run(_security(), _no_revocation))
        await asyncio.wait_for(again.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert "will be tried again: OSError: unexpected" in caplog.text
