"""What people write: addresses, fingerprints, the file of trusted ones, key files. Only ConfigError may come of it."""

import contextlib
import tempfile
from pathlib import Path

from level_replicator.core.errors import ConfigError
from level_replicator.core.pins import fingerprint_of, parse_fingerprint
from level_replicator.face.config import parse_address
from level_replicator.runtime.pems import PemsFile, certificate_fingerprint
from level_replicator.runtime.trust import TrustedFile


def words(data: bytes) -> None:
    """An address, or a fingerprint: what is taken has one form, which is taken again."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ConfigError):
        host, port = parse_address(text)
        assert 0 < port < 1 << 16
        assert parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") == (host, port)
    with contextlib.suppress(ConfigError):
        taken = parse_fingerprint(text)
        assert parse_fingerprint(taken) == taken
        assert len(taken) == len(fingerprint_of(b""))


def files(data: bytes) -> None:
    """A key file, a certificate, a list of fingerprints."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_in_memory()) as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        with contextlib.suppress(ConfigError):
            assert PemsFile(path).load().fingerprint == certificate_fingerprint(path)
        with contextlib.suppress(ConfigError):
            assert parse_fingerprint(certificate_fingerprint(path))
        trusted = TrustedFile(path)
        reloaded = trusted.reload()
        if reloaded is not None:
            found, mistakes = reloaded
            assert all(parse_fingerprint(each) == each for each in found)
            if mistakes:
                with contextlib.suppress(ConfigError):
                    raise AssertionError(f"a list with mistakes was taken: {trusted.load()}")
            else:
                assert trusted.load() == found
            assert TrustedFile(path).reload() == reloaded


def _in_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
