"""The page of the protocol says what the code does: messages, codes, limits, and bytes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from level_replicator.api.admin_commands import VERBS
from level_replicator.core import limits
from level_replicator.core.entry import CONTEXT, DELETE, INDEX_HEAD, encode_context, encode_entry
from level_replicator.core.reconcile_rules import Fingerprint
from level_replicator.core.version_vector import Cursor, encode_cursor, encode_vector
from level_replicator.protocol import client_messages, messages
from level_replicator.protocol.messages import ByeCode, Entries, Hello, StartPull
from level_replicator.storage.state.schema import INDEX

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text("utf-8")
ORIGIN, OTHER = 0x0102030405060708, 0x1112131415161718
STAMP = 1_700_000_000_000 << 16 | 1
HIGH = STAMP + 2


def _members(union: Any) -> Iterator[type[msgspec.Struct]]:
    for each in get_args(union):
        if isinstance(each, type):
            yield each
        else:
            yield from _members(each)


def _rows() -> dict[str, tuple[int, str]]:
    found = re.findall(r"^\| (\d+) \| (\w+)(?: \(number 0\))? \| ([^|]*)\|", PAGE, re.MULTILINE)
    return {name: (int(number), items) for number, name, items in found}


@pytest.mark.parametrize(
    "kind",
    [*_members(messages.AnyMessage), *_members(client_messages.AnyRequest), *_members(client_messages.AnyAnswer)],
    ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}",
)
def test_each_message_with_its_number_and_items(kind: type[msgspec.Struct]) -> None:
    name = kind.__name__
    number, items = _rows()[name]
    assert number == kind.__struct_config__.tag
    fields = [each for each in kind.__struct_fields__ if each != "id"]
    at = 0
    for field in fields:
        word = field.removesuffix("_ms")
        assert word in items[at:], f"{field} of {name}"
        at = items.index(word, at) + len(word)
    outside = re.sub(r"\([^)]*\)|\[[^\]]*\]|:.*", "", items)
    assert len([item for item in outside.split(",") if item.strip()]) == len(fields)


def test_no_other_messages() -> None:
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \| [A-Z]\w+", PAGE, re.MULTILINE)]
    kinds = [
        *_members(messages.AnyMessage),
        *_members(client_messages.AnyRequest),
        *_members(client_messages.AnyAnswer),
    ]
    assert sorted(numbers) == sorted(kind.__struct_config__.tag for kind in kinds)  # type: ignore[type-var]


def test_versions_and_codes() -> None:
    assert f"version {messages.VERSION} of the protocol" in PAGE
    assert f"version {client_messages.VERSION} |" in PAGE
    (codes,) = re.findall(r"^Codes of Bye: (.*)\.$", PAGE, re.MULTILINE)
    assert codes == ", ".join(f"{code.value} {code.name.lower()}" for code in ByeCode)
    assert f"`{client_messages.PREAMBLE.decode()}`" in PAGE
    assert f"`{client_messages.ALPN.decode()}`" in PAGE
    assert f'magic `"{messages.MAGIC}"`' in PAGE


def test_verbs() -> None:
    table = PAGE[PAGE.index("| verb |") : PAGE.index("## Transcripts")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(VERBS)


def test_limits() -> None:
    table = PAGE[PAGE.index("| limit |") : PAGE.index("## Stored state")]
    found = {name: int(value.replace(",", "")) for value, name in re.findall(r"\| ([\d,]+) \| `(\w+)`", table)}
    assert found == {name: getattr(limits, name) for name in found}
    assert len(found) >= 12
    assert f"at most {limits.MAX_FRAME_BYTES:,} bytes" in PAGE


def examples() -> dict[str, str]:
    entry, _, _ = encode_entry(STAMP, b"key", b"value")
    deleted, flags, _ = encode_entry(STAMP + 1, b"kez", None, encode_context({OTHER: 7}))
    assert flags == DELETE | CONTEXT
    prints = Fingerprint()
    heads = [INDEX_HEAD.pack(STAMP, ORIGIN, 0, 0x1D775834), INDEX_HEAD.pack(STAMP + 1, ORIGIN, DELETE, 0)]
    prints.add([INDEX + b"key", INDEX + b"kez"], heads)
    return {
        "hello": messages.encode(Hello(messages.MAGIC, 2, ORIGIN, b"\x11" * 16, 5000)).hex(),
        "start_pull": messages.encode(StartPull(encode_vector({ORIGIN: STAMP}), [(OTHER, 1, 7)], b"", 0, 1)).hex(),
        "put": entry.hex(),
        "delete": deleted.hex(),
        "entries": messages.encode(Entries(ORIGIN, STAMP - 1, HIGH, [entry, deleted], True)).hex(),
        "fingerprint": prints.digest().hex(),
        "cursor": encode_cursor(Cursor({ORIGIN: STAMP}, ORIGIN, {ORIGIN: STAMP + 1, OTHER: 7})),
    }


def test_bytes() -> None:
    block = PAGE[PAGE.index("```text\nhello") :].partition("```text\n")[2].partition("```")[0]
    shown = {
        name: value.replace("\n", "").replace(" ", "")
        for name, value in re.findall(r"^(\w+)\n((?:  .*\n)+)", block, re.MULTILINE)
    }
    assert shown == examples()
