"""Every decoder of the library, given anything: what may come out of it, and what must hold of that.

Each target takes bytes. Anything but its named error is a finding. `python -m tests.fuzz` drives them by coverage;
test_corpus.py replays what that found worth keeping.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from level_replicator.core.effects import BeginWalk, Judge
from level_replicator.core.entry import decode_context, decode_entry, encode_entry, is_sound
from level_replicator.core.errors import ConfigError, RemoteProtocolError
from level_replicator.core.framing import FrameReader
from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.core.messages import (
    MAGIC,
    VERSION,
    Hello,
    Items,
    Lines,
    Parts,
    Same,
    Welcome,
    decode,
    encode,
)
from level_replicator.core.pins import fingerprint_of, parse_fingerprint
from level_replicator.core.session import Session
from level_replicator.core.versions import decode_vector, encode_vector
from level_replicator.core.walking import Asks
from level_replicator.face.config import parse_address
from level_replicator.runtime.pems import load_pems
from level_replicator.runtime.trust import TrustedFile
from tests.protocol.stage import Stage

WALL_MS = 1_000_000
_OPENING = [encode(Hello(MAGIC, VERSION, 0xBAD, b"fuzzer")), encode(Welcome())]


def _frames(data: bytes) -> bytes:
    """A stream of frames from chunks of two bytes of length and a body: a changed byte then leaves the frames whole."""
    stream, at = [], 0
    while at + 2 <= len(data):
        body = data[at + 2 : at + 2 + int.from_bytes(data[at : at + 2], "big")]
        stream.append(len(body).to_bytes(4, "big") + body)
        at += 2 + len(body)
    return b"".join(stream)


def framing(data: bytes) -> None:
    """However the bytes are cut, the frames are the same."""

    def read(pieces: list[bytes]) -> tuple[list[bytes], str]:
        reader, found = FrameReader(), []
        try:
            for piece in pieces:
                found += reader.feed(piece)
        except RemoteProtocolError as error:
            return found, str(error)
        return found, ""

    whole, complaint = read([data])
    bytewise, said = read([data[at : at + 1] for at in range(len(data))])
    assert complaint == said
    assert len(bytewise) >= len(whole)
    assert bytewise[: len(whole)] == whole


def message(data: bytes) -> None:
    """What can be decoded is encoded to something that is decoded the same."""
    with contextlib.suppress(RemoteProtocolError):
        first = decode(data)
        assert decode(encode(first)[4:]) == first


def entry(data: bytes) -> None:
    """An entry that is taken has one form only, so what is forwarded is what was checked."""
    for valueless in (False, True):
        with contextlib.suppress(RemoteProtocolError):
            taken = decode_entry(data, valueless=valueless)
            decode_context(taken.context)
            if not valueless:
                assert encode_entry(taken.stamp, taken.key, taken.value, taken.context)[0] == data
    sound = is_sound(data)
    try:
        decode_entry(data)
    except RemoteProtocolError:
        # is_sound looks at checksums only; limits are for strangers
        pass
    else:
        assert sound


def vector(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert encode_vector(decode_vector(data)) == data


def answers(data: bytes) -> None:
    """A walk's answers, to questions of every kind."""
    asks = Asks()
    asks.begin(looking=bool(data[:1] and data[0] & 1))
    asks.probed(b"", b"", 3)
    asks.probed(b"b", b"m", 0)
    asks.fetched([b"a", b"b", b"c"])
    asks.probed(b"m", b"", 100)
    with contextlib.suppress(RemoteProtocolError):
        for body in FrameReader().feed(_frames(data[1:])):
            said = decode(body)
            if isinstance(said, Same | Parts | Lines | Items):
                asks.answer(said, WALL_MS << 16)


def _session(data: bytes, *, dialled: bool, opened: bool) -> None:
    session = Session(origin=1, instance=b"me", dialled=dialled, now_ms=0, max_drift_ms=60_000, heartbeat_ms=1_000)
    session.ask(1)
    stream = b"".join([*(_OPENING if opened else []), _frames(data)])
    with contextlib.suppress(RemoteProtocolError):
        for effect in _effects(session, stream):
            if isinstance(effect, BeginWalk):
                session.probe([(b"", b"", bytes(16), 1)])
    session.take_output(0)


def _effects(session: Session, stream: bytes) -> Iterator[object]:
    for effect in session.receive(stream, 0, WALL_MS):
        if isinstance(effect, Judge):
            session.welcome()
            session.want({}, [], {}, 0)
            session.compare()
        yield effect


def handshake(data: bytes) -> None:
    _session(data[1:], dialled=bool(data[:1] and data[0] & 1), opened=False)


def session(data: bytes) -> None:
    _session(data[1:], dialled=bool(data[:1] and data[0] & 1), opened=True)


def node(data: bytes) -> None:
    """A whole node without a disk: whatever a peer says, it neither raises nor becomes unsound."""
    stage = Stage()
    actor = stage.actor("A")
    origins = count(0xA0)
    actor.store._random_bytes = lambda size: next(origins).to_bytes(size, "big")
    actor.write(a="1", b="2", c="3")
    actor.write(b=None)
    if data[:1] and data[0] & 1:
        actor.truncate()
    link = stage.puppet(actor).other.link
    assert link is not None
    link.session._frames.limit = MAX_FRAME_BYTES
    for frame in _OPENING:
        link.received(frame)
    stage.moving.clear()
    stream = _frames(data[1:])
    for body in [stream[at : at + 600] for at in range(0, len(stream), 600)]:
        if link.ended:
            break
        link.received(body)
        for _ in range(20):
            if actor.hub.run() != 0:
                break
        stage.moving.clear()
        stage.now_ms += 300
        actor.hub.tick()
    assert actor.store.failed is None
    report = actor.store.verify(repair=False, progress=lambda keys: None)
    assert report.sound, report


def key_pair(data: bytes) -> None:
    """`pems` as somebody else wrote them."""
    private, _, certificate = data.partition(b"\0")
    pems = {"private": private.decode("utf-8", "replace"), "cert": certificate.decode("utf-8", "replace")}
    with contextlib.suppress(ConfigError):
        assert load_pems(pems).fingerprint == fingerprint_of(load_pems(pems).certificate)


def settings(data: bytes) -> None:
    """Addresses, fingerprints, and the file of trusted ones."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        host, port = parse_address(text)
        assert parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") == (host, port)
    with contextlib.suppress(ConfigError):
        taken = parse_fingerprint(text)
        assert parse_fingerprint(taken) == taken
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(ConfigError):
            found = TrustedFile(Path(file.name)).load()
            assert all(parse_fingerprint(each) == each for each in found)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (framing, message, entry, vector, answers, handshake, session, node, key_pair, settings)
}
