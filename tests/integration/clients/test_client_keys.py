"""Clients of a node with keys: accepted or rejected as peers are, before the node reads any request."""

import asyncio
import json
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import level_replicator as lrep
from level_replicator.protocol.client_messages import ALPN, PREAMBLE, Attach, Failed, Get, decode_answer, encode
from level_replicator.protocol.framing import FrameReader
from tests.harness.waiting import wait_until
from tests.integration.security.intruder import SecureIntruder, context
from tests.integration.security.keys import pems, print_of

A, B, C = print_of("A", "B", "C")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(**config: Any) -> lrep.Replica:
            settings = {"port": 0, "pems": pems("A"), **config}
            return stack.enter_context(lrep.open(tmp_path / "node", settings))

        yield start


def address_of(replica: lrep.Replica) -> str:
    return "{}:{}".format(*replica.address or ())


def test_a_trusted_client_is_accepted(node: Any) -> None:
    replica = node(trusted=[B])
    with lrep.connect(address_of(replica), pems=pems("B"), fingerprint=A) as client:
        client.put(b"key", bytes(1_000_000))
        assert dict(client) == {b"key": bytes(1_000_000)}
    with pytest.raises(lrep.ReplicationError, match="not among those that are accepted"):
        lrep.connect(address_of(replica), pems=pems("C"), fingerprint=A)


def test_a_node_with_another_key_gets_no_request(node: Any) -> None:
    replica = node(trusted=[B])
    with pytest.raises(lrep.ReplicationError, match="but should have"):
        lrep.connect(address_of(replica), pems=pems("B"), fingerprint=[C])
    wait_until(lambda: replica.status()["clients"] == 0, "its end")


def test_clients_without_keys_are_rejected(node: Any) -> None:
    replica = node(trusted=[B])
    with pytest.raises(lrep.ReplicationError):
        lrep.connect(address_of(replica), timeout=5)
    with (
        pytest.raises(lrep.ReplicationError, match="does not speak TLS"),
        lrep.open(
            Path(replica.name.decode() if isinstance(replica.name, bytes) else replica.name).parents[1] / "plain",
            {"port": 0},
        ) as plain,
    ):
        lrep.connect(address_of(plain), pems=pems("B"), fingerprint=A, timeout=5)


def test_identify_gets_the_role(node: Any) -> None:
    asked: list[tuple[str, str]] = []

    def identify(peer: lrep.PeerIdentity) -> None:
        asked.append((peer.fingerprint, peer.role))
        if peer.role == "client" and peer.fingerprint == B:
            peer.accept(read_only=True)
        elif peer.role == "client" and peer.fingerprint == C:
            peer.accept()
        else:
            peer.reject("no")

    replica = node(identify=identify)
    reader = lrep.connect(address_of(replica), pems=pems("B"), fingerprint=A)
    with reader, pytest.raises(lrep.ReadOnlyError):
        reader.put(b"key", b"value")
    with lrep.connect(address_of(replica), pems=pems("C"), fingerprint=A) as writer:
        writer.put(b"key", b"value")
    assert asked == [(B, "client"), (C, "client")]
    assert dict(replica) == {b"key": b"value"}


def test_a_client_that_leaves_the_trusted_list_is_disconnected(node: Any, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{B}\n{C}\n")
    replica = node(trusted=trusted)
    with lrep.connect(address_of(replica), pems=pems("B"), fingerprint=A) as client:
        client.put(b"key", b"value")
        trusted.write_text(f"{C}\n")
        wait_until(lambda: replica.status()["clients"] == 0, "the end of the client")
        with pytest.raises(lrep.ReplicationError):
            client.get(b"key")


def test_disconnect_revokes_what_identify_accepted(node: Any) -> None:
    """The node cannot know that `identify` would decide otherwise now."""
    welcome = {B}
    replica = node(identify=lambda peer: peer.accept() if peer.fingerprint in welcome else peer.reject("no"))
    with lrep.connect(address_of(replica), pems=pems("B"), fingerprint=A) as client:
        client.put(b"key", b"value")
        welcome.clear()
        assert replica.disconnect(B) == 1
        assert replica.status()["clients"] == 0
        with pytest.raises(lrep.ReplicationError):
            client.get(b"key")
    with lrep.connect(Path(replica.name).parent) as local:
        assert replica.disconnect("this machine") == 0
        assert local.get(b"key") == b"value"


def test_the_unix_socket_needs_no_key(node: Any, tmp_path: Path) -> None:
    node(trusted=[B])
    with lrep.connect(tmp_path / "node") as client:
        client.put(b"key", b"value")


def hear_out(intruder: SecureIntruder) -> None:
    while intruder._more():
        pass


def answers_of(intruder: SecureIntruder) -> list[object]:
    hear_out(intruder)
    reader = FrameReader()
    return [decode_answer(body) for body in reader.feed(bytes(intruder.heard))]


def as_client(name: str) -> Any:
    made = context(pems(name))
    made.set_alpn_protos([ALPN])
    return made


def test_a_client_that_was_not_accepted_gets_no_answer(node: Any) -> None:
    """Even if it sends requests before the decision."""
    replica = node(identify=lambda peer: peer.reject("no"))
    replica.put(b"key", b"a secret")
    with SecureIntruder.dial(replica.address, as_client("B")) as intruder:
        intruder.handshake()
        intruder.send(PREAMBLE + encode(Attach(0)) + encode(Get(1, b"key")))
        (only,) = answers_of(intruder)
        assert isinstance(only, Failed)
        assert "no" in only.text
        assert b"secret" not in intruder.heard


def test_a_key_accepted_as_a_client_is_no_peer_and_vice_versa(node: Any) -> None:
    replica = node(identify=lambda peer: peer.accept() if peer.role == "client" else peer.reject("no"))
    replica.put(b"key", b"a secret")
    with SecureIntruder.dial(replica.address, as_client("B")) as intruder:
        intruder.handshake()
        intruder.send(b"\0\0\0\1\x91")
        (only,) = answers_of(intruder)
        assert isinstance(only, Failed)
        assert "expected the preamble of a client" in only.text
    with SecureIntruder.dial(replica.address, context(pems("B"))) as intruder:
        intruder.handshake()
        intruder.send(PREAMBLE + encode(Attach(0)) + encode(Get(1, b"key")))
        hear_out(intruder)
        assert b"secret" not in intruder.heard


def test_the_error_of_a_client_without_keys_names_tls(node: Any) -> None:
    replica = node(trusted=[B])
    text = "does the node expect TLS"
    with pytest.raises(lrep.ConnectionLostError, match=text):
        lrep.connect(address_of(replica), timeout=5)

    async def main() -> None:
        await lrep.aio.connect(address_of(replica), timeout=5)

    with pytest.raises(lrep.ConnectionLostError, match=text):
        asyncio.run(main())


def test_the_error_of_a_client_with_keys_at_a_node_without_keys(tmp_path: Path) -> None:
    text = "does not speak TLS.*without `pems`"
    with lrep.open(tmp_path, {"port": 0}) as replica:
        with pytest.raises(lrep.ReplicationError, match=text):
            lrep.connect(address_of(replica), pems=pems("B"), fingerprint=A, timeout=5)

        async def main() -> None:
            await lrep.aio.connect(address_of(replica), pems=pems("B"), fingerprint=A, timeout=5)

        with pytest.raises(lrep.ReplicationError, match=text):
            asyncio.run(main())


@pytest.mark.parametrize("form", ["private", "json"])
def test_no_error_shows_a_key_that_was_given_as_a_path(form: str) -> None:
    text = pems("B")["private"] if form == "private" else json.dumps(pems("B"))
    secret = pems("B")["private"].splitlines()[1][:20]
    with pytest.raises(lrep.ConfigError, match="expected the path of a key file") as caught:
        lrep.connect("127.0.0.1:1", pems=text, fingerprint=A)
    assert secret not in _shown(caught.value)
    with pytest.raises(lrep.ConfigError, match="expected the path of a key file") as caught:
        lrep.fingerprint(text)
    assert secret not in _shown(caught.value)
    for wrong in (text.encode(), [text]):
        with pytest.raises(lrep.ConfigError) as caught:
            lrep.connect("127.0.0.1:1", pems=wrong, fingerprint=A)  # type: ignore[arg-type]
        assert secret not in _shown(caught.value)
        with pytest.raises(lrep.ConfigError) as caught:
            lrep.fingerprint(wrong)  # type: ignore[arg-type]
        assert secret not in _shown(caught.value)


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
