"""Peers are dialled again soon: a test of cuts and kills would otherwise wait out the backoff."""

from level_replicator.net.backoff import Backoff

CAP_S = 0.2


def defaults() -> dict[str, float]:
    """Where Backoff keeps its default cap; to be set to CAP_S."""
    found = Backoff.__init__.__kwdefaults__
    assert found is not None
    assert "cap_s" in found
    return found
