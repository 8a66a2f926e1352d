"""The first corpus: what nodes really say to each other in the scenes of the protocol's transcripts, and the lines that
they write. `python -m tests.fuzz.seeds` adds it to what is there."""

import json
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

from level_replicator.api.admin_commands import VERBS
from level_replicator.core.entry import INDEX_HEAD, encode_context, encode_entry, encode_index
from level_replicator.core.version_vector import encode_vector
from level_replicator.protocol.client_messages import (
    Do,
    Follow,
    Get,
    Read,
    Release,
    Request,
    Scan,
    TakeSnapshot,
    Unfollow,
    Write,
)
from level_replicator.protocol.client_messages import encode as encode_request
from level_replicator.protocol.messages import Entries, RangeEntries, decode
from level_replicator.security.key_files import generate_pems
from level_replicator.storage.state.schema import META
from tests.conformance.protocol.scenes import SCENES, play
from tests.conformance.protocol.stage import End
from tests.fuzz.replicas import kept_replicas
from tests.fuzz.saying import KINDS, raw

CORPUS = Path(__file__).parent / "corpus"
_CONTEXT = encode_context({2: 3, 4: 5})


def _conversations() -> list[list[bytes]]:
    """The bodies of the frames of each end of each scene."""
    ends: dict[int, list[bytes]] = {}
    kept: list[End] = []
    send: Callable[[End, list[bytes]], None] = End.send

    def noted(end: End, frames: list[bytes]) -> None:
        kept.append(end)  # so that no id comes twice
        ends.setdefault(id(end), []).extend(frame[4:] for frame in frames)
        send(end, frames)

    End.send = noted  # type: ignore[method-assign]
    try:
        for scene in SCENES:
            play(scene)
    finally:
        End.send = send  # type: ignore[method-assign]
    return list(ends.values())


def _heaps(bodies: list[bytes], lead: int) -> bytes:
    """Frames one by one. `lead`: the byte before each, which for a target means that the peer speaks."""
    return b"".join(bytes([lead, 0]) + raw(body) for body in bodies)


def seeds() -> dict[str, list[bytes]]:
    """By target."""
    talks = _conversations()
    bodies = sorted({body for talk in talks for body in talk})
    records = [record for body in bodies for record in _records(body)]
    replies = [
        bytes([how]) + b"\x01\xff\x00\x00" + b"\x02\xff" + len(b).to_bytes(2, "big") + b
        for b in bodies
        for how in (0, 1)
    ]
    each_kind = [bytes([kind]) + bytes(range(40)) for kind in range(KINDS)]
    return {
        "frames": [b"\0\x02\x03\x05" + b"".join(len(b).to_bytes(4, "big") + b for b in talk)[:500] for talk in talks],
        "messages": bodies + each_kind,
        "vectors": [b"", encode_vector({1: 2}), encode_vector({1: 2, 3: 4})],
        "entries": [*records, encode_entry(5, b"k", b"v", _CONTEXT)[0], encode_entry(5, b"k", None, _CONTEXT)[0]],
        "lines": [bytes([kind]) + bytes(range(size)) for kind, size in enumerate((16, 8, 24, 32))]
        + [b"\4" + encode_index(5, 1, 0, 7, _CONTEXT, _CONTEXT[:16]), b"\4" + bytes(INDEX_HEAD.size)],
        "meta": [disks.rs[META] for disks in kept_replicas()],
        "answers": replies + [b"\0\x01\xff\x00\x00\x02\0" + each for each in each_kind],
        "pulls": [b"".join(b"\x01\xff" + len(b).to_bytes(2, "big") + b for b in talk) for talk in talks],
        "handshake": [bytes([0xC5, how]) + _heaps(talk[:6], 0) for talk in talks for how in (0, 1)],
        "session": [
            bytes([0, how]) + b"\x07\x00\x00" * (how >> 1) + _heaps(talk[2:], 0) for talk in talks for how in (0, 3)
        ]
        + [b"\0\0" + b"\x07\x00\x00\0\0" + each for each in each_kind],
        "node": [bytes([how]) + _node_heaps(talk[2:]) for talk in talks for how in (0x07, 0x2F)],
        "words": [b"127.0.0.1:80", b"[::1]:80", b"a.b:65535", b"sha256:" + b"0a" * 32, b"0A:" * 31 + b"0A"],
        "files": [
            _certificate().encode(),
            json.dumps({"cert": _certificate(), "private": "x"}).encode(),
            b"# peers\nsha256:" + b"0a" * 32 + b" one\n\n" + b"0A:" * 31 + b"0A two",
            *(b"{}", b"[]", b"not one"),
        ],
        "requests": [body for body, _ in _requests()],
        "client": [
            bytes([permissions, 1]) + b"".join(bytes([2 * len(body)]) + body for body in some)
            for permissions in (0, 1)
            for some in [[body for body, _ in _requests()], *([body] for body, _ in _requests())]
        ],
        "replica": [bytes([how, 0, 0, kind, 7, 7, 7]) for how in range(8) for kind in range(7)],
    }


def _requests() -> list[tuple[bytes, Request]]:
    """One of each kind, and answers."""
    some: list[Request] = [
        Get(1, b"key"),
        Get(2, b"key", 5, True, False),
        Write(3, [(b"new", b"value"), (b"key", None)], None),
        Scan(4, None, None),
        Scan(5, (b"a", False), (b"z", True), 0, True, True, False),
        TakeSnapshot(6),
        Release(7, 8),
        Follow(9, None, b""),
        Read(10, 9, 100),
        Unfollow(11, 9),
        *(Do(12, verb, {}) for verb in VERBS),
        Do(13, "log", {"before": [1 << 60, 3], "prefix": b"k", "most": 3}),
        Do(14, "truncate", {"max_bytes": 10, "max_age": 1.5}),
        Do(15, "verify", {"repair": True}),
    ]
    return [(encode_request(each)[4:], each) for each in some]


def _node_heaps(bodies: list[bytes]) -> bytes:
    return b"".join(b"\x44" + raw(body) for body in bodies)


def _certificate() -> str:
    return generate_pems(key="ed25519")["cert"]


def _records(body: bytes) -> list[bytes]:
    message = decode(body)
    return message.records if isinstance(message, Entries | RangeEntries) else []


def name_of(data: bytes) -> str:
    """The name that libFuzzer would give to the file of this input."""
    return sha1(data, usedforsecurity=False).hexdigest()


def main() -> None:
    for target, inputs in seeds().items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (CORPUS / target / name_of(data)).write_bytes(data)


if __name__ == "__main__":
    main()
