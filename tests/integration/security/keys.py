"""Key pairs for tests, made once."""

from functools import cache

import level_replicator as lrep


@cache
def _pems(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(lrep.generate_pems(name=name, key="ed25519" if name == "Ed" else "p256").items())


def pems(name: str) -> dict[str, str]:
    """Of the node with this name; the same in each test."""
    return dict(_pems(name))


def print_of(*names: str) -> list[str]:
    """Their fingerprints."""
    return [lrep.fingerprint(pems(name)) for name in names]
