"""The first corpus: what nodes really say to each other, taken from the scenes of the protocol's transcripts."""

from collections.abc import Callable

import level_replicator as lrep
from level_replicator.core.entry import encode_entry
from level_replicator.core.messages import Entries, Items, decode
from level_replicator.core.versions import encode_vector
from tests.fuzz import corpus_files
from tests.protocol import stage
from tests.protocol.scenes import SCENES, play


def _said() -> list[list[bytes]]:
    """The bodies of the frames of each end of each scene."""
    ends: dict[int, list[bytes]] = {}
    kept = []
    send: Callable[..., None] = stage.End.send

    def noted(end: stage.End, frames: list[bytes]) -> None:
        kept.append(end)  # so that no id comes twice
        ends.setdefault(id(end), []).extend(frame[4:] for frame in frames)
        send(end, frames)

    stage.End.send = noted  # type: ignore[method-assign]
    try:
        for scene in SCENES:
            play(scene)
    finally:
        stage.End.send = send  # type: ignore[method-assign]
    return list(ends.values())


def _chunks(bodies: list[bytes]) -> bytes:
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def main() -> None:
    """Adds them to what is there."""
    conversations = _said()
    bodies = sorted({body for conversation in conversations for body in conversation})
    records = []
    for body in bodies:
        message = decode(body)
        if isinstance(message, Entries | Items):
            records += message.records
    pems = lrep.generate_pems(key="ed25519")
    seeds = {
        "framing": [b"".join(len(body).to_bytes(4, "big") + body for body in each)[:400] for each in conversations],
        "message": bodies,
        "entry": [*records, encode_entry(5, b"k", b"v", encode_vector({2: 3}))[0], encode_entry(5, b"k", None)[0]],
        "vector": [b"", encode_vector({1: 2}), encode_vector({1: 2, 3: 4})],
        "answers": [b"\0" + _chunks([body]) for body in bodies],
        "handshake": [flag + _chunks(each[:6]) for each in conversations for flag in (b"\0", b"\1")],
        "session": [flag + _chunks(each[2:]) for each in conversations for flag in (b"\0", b"\1")],
        "node": [flag + _chunks(each[2:]) for each in conversations for flag in (b"\0", b"\1")],
        "key_pair": [f"{pems['private']}\0{pems['cert']}".encode()],
        "settings": [b"127.0.0.1:80", b"[::1]:80", f"{lrep.fingerprint(pems)} x\n# y\n".encode()],
    }
    for target, inputs in seeds.items():
        corpus_files.store(target, [*corpus_files.load(target), *inputs])


if __name__ == "__main__":
    main()
