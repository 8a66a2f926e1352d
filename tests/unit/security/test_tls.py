"""TLS channels in memory: two sides, no sockets."""

import pytest

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_TLS_HANDSHAKE_BYTES
from level_replicator.security.key_files import load_pems
from level_replicator.security.tls import Channel, Contexts
from tests.integration.security.keys import pems


def _contexts(name: str) -> Contexts:
    return Contexts(load_pems(pems(name)))


def _connect(*, client: bool = False) -> tuple[Channel, Channel]:
    dialling = _contexts("A").channel(dialled=True, client=client)
    accepting = _contexts("B").channel(dialled=False)
    dialling.begin()
    while not (dialling.established and accepting.established):
        accepting.receive(dialling.take())
        dialling.receive(accepting.take())
    return dialling, accepting


def test_both_sides_prove_their_keys() -> None:
    dialling, accepting = _connect()
    assert dialling.certificate() == load_pems(pems("B")).certificate
    assert accepting.certificate() == load_pems(pems("A")).certificate


def test_bytes_in_both_directions() -> None:
    dialling, accepting = _connect()
    for sender, receiver in ((dialling, accepting), (accepting, dialling)):
        assert receiver.read() == b""
        sender.write(b"some " * 10_000)
        wire = sender.take()
        assert b"some some" not in wire
        for at in range(0, len(wire), 1_000):
            receiver.receive(wire[at : at + 1_000])
        received = b""
        while data := receiver.read():
            received += data
        assert received == b"some " * 10_000
        assert sender.take() == b""


@pytest.mark.parametrize("client", [False, True])
def test_a_client_identifies_itself(client: bool) -> None:
    _, accepting = _connect(client=client)
    assert accepting.is_client is client


def test_the_end_of_the_stream() -> None:
    dialling, accepting = _connect()
    dialling.write(b"last")
    dialling.shut()
    accepting.receive(dialling.take())
    assert accepting.read() == b"last"
    assert not accepting.ended
    assert accepting.read() == b""
    assert accepting.ended


def test_changed_bytes_are_noticed() -> None:
    dialling, accepting = _connect()
    dialling.write(b"value")
    wire = bytearray(dialling.take())
    wire[-1] ^= 1
    accepting.receive(bytes(wire))
    with pytest.raises(RemoteProtocolError, match="TLS failed"):
        accepting.read()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x32\x96\x01\xb0level-replicator"])
def test_a_peer_without_tls_is_explained(data: bytes) -> None:
    accepting = _contexts("A").channel(dialled=False)
    with pytest.raises(RemoteProtocolError, match="does not speak TLS: check that it has keys"):
        accepting.receive(data)


def test_a_handshake_is_bounded() -> None:
    accepting = _contexts("A").channel(dialled=False)
    with pytest.raises(RemoteProtocolError, match=f"exceeds {MAX_TLS_HANDSHAKE_BYTES} bytes"):
        accepting.receive(bytes(MAX_TLS_HANDSHAKE_BYTES + 1))
