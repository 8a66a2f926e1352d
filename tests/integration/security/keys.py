"""Key pairs for tests, made once."""

from functools import cache

import level_replicator as lrep


@cache
def _pems(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(lrep.generate_pems(name=name, key="ed25519" if name == "Ed" else "p256").items())


def pems(name: str) -> dict[str, str]:
    """Return the key pair of the node with this name, the same in each test of this process."""
    return dict(_pems(name))


def print_of(*names: str) -> list[str]:
    """Return the fingerprints of the nodes with these names."""
    return [lrep.fingerprint(pems(name)) for name in names]
