"""The client's protocol without a socket: bytes in, events and bytes out."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level_replicator.client.credentials import Credentials
from level_replicator.client.protocol import (
    Answered,
    ClientProtocol,
    Event,
    Lost,
    Opened,
    Progressed,
    Refused,
    release_of,
)
from level_replicator.core.errors import (
    ClosedError,
    ConnectionLostError,
    LimitError,
    ReadOnlyError,
    RemoteProtocolError,
    ReplicationError,
)
from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    AnyRequest,
    Attach,
    Attached,
    Data,
    Do,
    Done,
    Failed,
    Follow,
    Get,
    Items,
    Number,
    Page,
    Progress,
    Release,
    Scan,
    TakeSnapshot,
    Unfollow,
    Value,
    Write,
    decode_request,
    encode,
)
from level_replicator.protocol.framing import FrameReader
from level_replicator.security.key_files import load_pems
from level_replicator.security.tls import Channel, Contexts
from tests.integration.security.keys import pems, print_of

ORIGIN = 7


def requests_in(data: bytes) -> list[AnyRequest]:
    reader = FrameReader()
    reader.limit = MAX_FRAME_BYTES
    return [decode_request(body) for body in reader.feed(data)]


@pytest.fixture
def protocol() -> ClientProtocol:
    """One that the node has accepted."""
    made = ClientProtocol("the node", None)
    made.data_to_send()
    assert made.receive(encode(Attached(0, VERSION, ORIGIN, True))) == [Opened()]
    return made


def only(events: list[Event]) -> Any:
    (event,) = events
    return event


# -- attaching


def test_it_introduces_itself_and_is_accepted() -> None:
    protocol = ClientProtocol("the node", None)
    assert protocol.data_to_send() == PREAMBLE + encode(Attach(0))
    assert protocol.data_to_send() == b""
    assert protocol.receive(encode(Attached(0, VERSION, ORIGIN, True))) == [Opened()]
    assert (protocol.origin, protocol.read_only, protocol.lost) == (ORIGIN, True, False)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Failed(0, "ReplicationError", "not accepted: a stranger"), ReplicationError, "a stranger"),
        (Failed(0, "ClosedError", "the replica is closed"), ConnectionLostError, "the node: the replica is closed"),
        (Failed(0, "ErrorOfTheNextVersion", "no"), ReplicationError, "no"),
        (Attached(0, VERSION + 1, ORIGIN, False), RemoteProtocolError, "use the same release"),
        (Done(0), RemoteProtocolError, "is it a node"),
        (Value(1, b""), RemoteProtocolError, "request 1, which is not open"),
    ],
)
def test_it_is_not_accepted(answer: Any, kind: type[Exception], text: str) -> None:
    protocol = ClientProtocol("the node", None)
    lost = only(protocol.receive(encode(answer)))
    assert isinstance(lost, Lost)
    assert type(lost.error) is kind
    assert text in str(lost.error)
    assert protocol.lost
    with pytest.raises(ConnectionLostError):
        protocol.request(Get(0, b"k"))


# -- requests and answers


def test_answers_are_matched_by_number_in_any_order(protocol: ClientProtocol) -> None:
    numbers = [protocol.request(Get(0, b"%d" % i)) for i in range(3)]
    assert requests_in(protocol.data_to_send()) == [Get(number, b"%d" % i) for i, number in enumerate(numbers)]
    data = b"".join(encode(Value(number, b"of %d" % number)) for number in reversed(numbers))
    events = [event for i in range(len(data)) for event in protocol.receive(data[i : i + 1])]
    assert events == [Answered(number, Value(number, b"of %d" % number)) for number in reversed(numbers)]


def test_progress_comes_before_the_answer(protocol: ClientProtocol) -> None:
    number = protocol.request(Do(0, "verify"))
    data = encode(Progress(number, 5)) + encode(Progress(number, 9)) + encode(Data(number, {}))
    assert protocol.receive(data) == [
        Progressed(number, 5),
        Progressed(number, 9),
        Answered(number, Data(number, {})),
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ReadOnlyError", ReadOnlyError),
        ("ClosedError", ClosedError),
        ("TypeError", TypeError),
        ("OverflowError", OverflowError),
        ("ErrorOfTheNextVersion", ReplicationError),
        ("SystemExit", ReplicationError),
        ("__name__", ReplicationError),
    ],
)
def test_a_request_that_the_node_refuses(protocol: ClientProtocol, name: str, kind: type[Exception]) -> None:
    number = protocol.request(Get(0, b"k"))
    refused = only(protocol.receive(encode(Failed(number, name, "why"))))
    assert isinstance(refused, Refused)
    assert (refused.number, type(refused.error), str(refused.error)) == (number, kind, "why")
    assert not protocol.lost


def test_a_request_above_the_limit_leaves_nothing_behind(protocol: ClientProtocol) -> None:
    with pytest.raises(LimitError, match="in parts"):
        protocol.request(Write(0, [(b"k", bytes(MAX_FRAME_BYTES))]))
    assert protocol.data_to_send() == b""
    protocol.request(Get(0, b"k"))
    assert len(requests_in(protocol.data_to_send())) == 1


# -- what nobody waits for


@pytest.mark.parametrize(
    ("request_", "answer", "released"),
    [
        (Get(0, b"k"), Value(0, b"v"), None),
        (TakeSnapshot(0), Number(0, 55), Release(0, 55)),
        (TakeSnapshot(0), Failed(0, "LimitError", "too many"), None),
        (Follow(0, None, b""), Number(0, 55), Unfollow(0, 55)),
        (Scan(0, None, None), Page(0, [b"k"], [b""], (b"k", True), 55), Release(0, 55)),
        (Scan(0, None, None), Page(0, [b"k"], [b""], None, 0), None),
        (Scan(0, None, None, 55), Page(0, [b"k"], [b""], (b"k", True), 55), None),
    ],
)
def test_an_abandoned_request_releases_what_it_has_opened(
    protocol: ClientProtocol, request_: Any, answer: Any, released: Any
) -> None:
    """But not the snapshot of somebody else in which it reads."""
    assert release_of(request_, answer) == released
    number = protocol.request(request_)
    protocol.data_to_send()
    protocol.abandon(number)
    protocol.abandon(number)
    assert protocol.receive(encode(Progress(number, 1)) + _numbered(answer, number)) == []
    sent = requests_in(protocol.data_to_send())
    if released is None:
        assert sent == []
        return
    (release,) = sent
    assert release == _with_number(released, release.id)
    assert protocol.receive(encode(Done(release.id))) == []
    assert not protocol.lost
    protocol.abandon(number)
    assert protocol.request(Get(0, b"k")) > release.id


def _with_number(message: Any, number: int) -> Any:
    return type(message)(number, *[getattr(message, name) for name in message.__struct_fields__[1:]])


def _numbered(answer: Any, number: int) -> bytes:
    return encode(_with_number(answer, number))


def test_forgotten_snapshots_are_released_before_the_next_request(protocol: ClientProtocol) -> None:
    for snapshot in (5, 6):
        protocol.forget(snapshot)
    protocol.request(TakeSnapshot(0))
    sent = requests_in(protocol.data_to_send())
    assert [type(each) for each in sent] == [Release, Release, TakeSnapshot]
    assert len({each.id for each in sent}) == 3
    protocol.forget(7)
    (release,) = requests_in(protocol.data_to_send())
    assert isinstance(release, Release)
    assert release.snapshot == 7


def test_nothing_is_released_before_the_node_has_accepted_or_after_the_end() -> None:
    protocol = ClientProtocol("the node", None)
    protocol.data_to_send()
    protocol.forget(5)
    assert protocol.data_to_send() == b""
    protocol.connection_lost("it was closed")
    assert protocol.data_to_send() == b""


# -- hostile bytes


@pytest.mark.parametrize(
    "answer",
    [
        Done(1),  # of a Get
        Attached(0, VERSION, ORIGIN, False),  # once more
        Value(2, b""),  # nobody asked
        Value(-1, b""),
        Progress(2, 1),
        Items(1, [], True, 0, b"", False),
    ],
)
def test_an_answer_that_may_not_come_ends_the_connection(protocol: ClientProtocol, answer: Any) -> None:
    assert protocol.request(Get(0, b"k")) == 1
    lost = only(protocol.receive(encode(answer) + encode(Value(1, b"v"))))
    assert isinstance(lost, Lost)
    assert isinstance(lost.error, RemoteProtocolError)
    assert protocol.receive(encode(Value(1, b"v"))) == []


def test_a_request_has_one_answer(protocol: ClientProtocol) -> None:
    number = protocol.request(Get(0, b"k"))
    answer = encode(Value(number, b"v"))
    first, lost = protocol.receive(answer + answer)
    assert isinstance(first, Answered)
    assert isinstance(lost, Lost)


def test_what_came_before_the_violation_counts(protocol: ClientProtocol) -> None:
    number = protocol.request(Get(0, b"k"))
    events = protocol.receive(encode(Value(number, b"v")) + b"\xff\xff\xff\xff")
    assert [type(each) for each in events] == [Answered, Lost]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x03\x00\x05hello",
        b"\0\0\0\0",
        b"\0\0\0\1\xc1",
        b"\0\0\0\3\x92\x40\x00",
        encode(Failed(0, "KeyboardInterrupt", "no")),
    ],
)
def test_bytes_of_another_protocol(data: bytes) -> None:
    protocol = ClientProtocol("the node", None)
    lost = only(protocol.receive(data))
    assert isinstance(lost, Lost)
    assert isinstance(lost.error, ReplicationError)


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_no_bytes_make_it_raise(parts: list[bytes], attached: bool) -> None:
    protocol = ClientProtocol("the node", None)
    if attached:
        protocol.receive(encode(Attached(0, VERSION, ORIGIN, False)))
        protocol.request(Get(0, b"k"))
    for part in parts:
        events = protocol.receive(part)
        assert [type(each) for each in events].count(Lost) <= 1
        protocol.data_to_send()


# -- TLS


class Node:
    """The node's side of TLS."""

    def __init__(self, name: str) -> None:
        self.channel: Channel = Contexts(load_pems(pems(name))).channel(dialled=False)

    def receive(self, data: bytes) -> bytes:
        self.channel.receive(data)
        return b"".join(iter(self.channel.read, b"")) if self.channel.established else b""


def _secure(node: str) -> ClientProtocol:
    """A client that expects a node."""
    return ClientProtocol("the node", Credentials(Contexts(load_pems(pems("B"))), print_of(node)))


def test_over_tls() -> None:
    protocol, node = _secure("A"), Node("A")
    heard = b""
    while not heard:
        heard = node.receive(protocol.data_to_send())
        assert protocol.receive(node.channel.take()) == []
        if not heard:
            heard = node.receive(protocol.data_to_send())
    assert heard == PREAMBLE + encode(Attach(0))
    node.channel.write(encode(Attached(0, VERSION, ORIGIN, False)))
    assert protocol.receive(node.channel.take()) == [Opened()]
    value = os.urandom(100_000)
    number = protocol.request(Write(0, [(b"k", value)]))
    assert requests_in(node.receive(protocol.data_to_send())) == [Write(number, [(b"k", value)])]


def test_a_node_with_another_key_gets_nothing() -> None:
    protocol, node = _secure("C"), Node("A")
    node.receive(protocol.data_to_send())
    lost = only(protocol.receive(node.channel.take()))
    assert isinstance(lost, Lost)
    assert type(lost.error) is ReplicationError
    assert print_of("A")[0] in str(lost.error)
    assert protocol.data_to_send() == b""


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_make_a_handshake_raise(data: bytes) -> None:
    protocol = _secure("A")
    protocol.data_to_send()
    assert all(isinstance(event, Lost) for event in protocol.receive(data))
