"""A short backoff between dials: a test of cuts and kills would otherwise wait for most of its time."""

from level_replicator.net.backoff import Backoff

CAP_S = 0.2


def defaults() -> dict[str, float]:
    """Return the defaults of Backoff, in which `cap_s` is to be set to CAP_S."""
    found = Backoff.__init__.__kwdefaults__
    assert found is not None
    assert "cap_s" in found
    return found
