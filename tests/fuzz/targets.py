"""Every decoder of the library, by name: bytes in; an AssertionError, or anything but the promised error, is a find.

`python -m tests.fuzz` drives them by coverage; test_corpus.py replays what that found worth keeping.
"""

from collections.abc import Callable

from tests.fuzz.clients import client, requests
from tests.fuzz.decoders import answers, entries, frames, lines, messages, pulls, vectors
from tests.fuzz.nodes import node
from tests.fuzz.replicas import meta, replica
from tests.fuzz.sessions import handshake, session
from tests.fuzz.settings import files, words

_ALL = (
    frames,
    messages,
    vectors,
    entries,
    lines,
    meta,
    answers,
    pulls,
    handshake,
    session,
    node,
    replica,
    words,
    files,
    requests,
    client,
)
TARGETS: dict[str, Callable[[bytes], None]] = {each.__name__: each for each in _ALL}
