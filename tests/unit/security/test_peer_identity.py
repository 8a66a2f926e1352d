"""The identity of a peer, and the decision about it."""

import pytest

from level_replicator.core.limits import MAX_REASON_CHARACTERS
from level_replicator.security.key_files import load_pems
from level_replicator.security.peer_identity import Decision, PeerIdentity
from tests.integration.security.keys import pems


@pytest.fixture
def peer() -> PeerIdentity:
    return PeerIdentity(load_pems(pems("A")).certificate, "10.0.0.1:8000", dialled=False, known=True)


def test_what_it_shows(peer: PeerIdentity) -> None:
    assert peer.certificate.split() == pems("A")["cert"].split()
    assert peer.public_key == pems("A")["public"]
    assert peer.fingerprint == load_pems(pems("A")).fingerprint
    assert peer.not_after.year > 2100
    assert (peer.address, peer.dialled, peer.known, peer.role) == ("10.0.0.1:8000", False, True, "peer")
    assert peer.fingerprint in repr(peer)


def test_the_first_decision_counts(peer: PeerIdentity) -> None:
    assert not peer.decision.done()
    peer.accept(read_only=True)
    peer.reject("too late")
    assert peer.decision.result() == Decision(accepted=True, read_only=True)


def test_a_reason_is_one_short_printable_line(peer: PeerIdentity) -> None:
    peer.reject("no\x1b[2J\n" + "x" * 1_000)
    reason = peer.decision.result().reason
    assert reason.startswith("no?[2J?x")
    assert len(reason) == MAX_REASON_CHARACTERS


@pytest.mark.parametrize("value", [1, "yes", None])
def test_read_only_must_be_a_bool(peer: PeerIdentity, value: object) -> None:
    with pytest.raises(TypeError, match="read_only: expected a bool"):
        peer.accept(read_only=value)  # type: ignore[arg-type]
    assert not peer.decision.done()
