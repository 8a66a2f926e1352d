"""Encodings of keys and values, changes as text and JSON, and the progress line of the commands."""

import argparse
import io
import sys

import pytest

from level_replicator.cli import output
from level_replicator.cli.output import (
    BASE64,
    HEX,
    TEXT,
    UsageError,
    bytes_text,
    change_to_json,
    change_to_text,
    print_result,
    progress,
    to_bytes,
    to_json,
    to_text,
)

STAMP = 1_700_000_000_123 << 16
ORIGIN = "00000000000000ff"


@pytest.mark.parametrize("data", [b"", b"key", "clé".encode(), b"\xff\x00", b"a\tb\nc"])
@pytest.mark.parametrize("encoding", [HEX, BASE64])
def test_hex_and_base64_can_be_read_back(data: bytes, encoding: str) -> None:
    assert to_bytes(to_text(data, encoding), encoding, "KEY") == data


def test_text_is_one_line_without_control_characters() -> None:
    assert to_text("clé".encode(), TEXT) == "clé"
    assert to_text(b"a\tb\x1b\xff", TEXT) == "a\\tb\\x1b\\xff"


@pytest.mark.parametrize(("text", "encoding"), [("xyz", HEX), ("0", HEX), ("?", BASE64)])
def test_an_argument_that_cannot_be_decoded_is_named(text: str, encoding: str) -> None:
    with pytest.raises(UsageError, match=f"--prefix: .* is not {encoding}"):
        to_bytes(text, encoding, "--prefix")


def test_json_names_the_encoding() -> None:
    assert to_json("value", None, HEX) == {"value": None}
    assert to_json("value", b"v", TEXT) == {"value": "v"}
    assert to_json("value", b"\xff", TEXT) == {"value_base64": "/w=="}
    assert to_json("value", b"v", HEX) == {"value_hex": "76"}
    assert to_json("value", b"v", BASE64) == {"value_base64": "dg=="}


def test_a_change_as_text_and_as_json() -> None:
    assert change_to_text(b"k", b"v", ORIGIN, STAMP, TEXT) == f"2023-11-14T22:13:20.123Z {ORIGIN} put    k = v"
    assert change_to_text(b"k", None, ORIGIN, STAMP, TEXT) == f"2023-11-14T22:13:20.123Z {ORIGIN} delete k"
    assert change_to_text(b"k", b"v" * 61, ORIGIN, STAMP, TEXT).endswith(" = " + "v" * 60 + "…")
    assert change_to_json(b"k", b"v" * 61, ORIGIN, STAMP, TEXT) == {
        "key": "k",
        "value": "v" * 61,
        "origin": ORIGIN,
        "stamp": STAMP,
        "time_ms": 1_700_000_000_123,
    }


@pytest.mark.parametrize(("as_json", "shown"), [(True, '{"entries": 3}\n'), (False, "3 entries\n")])
def test_a_result_is_json_or_text(capsys: pytest.CaptureFixture[str], as_json: bool, shown: str) -> None:
    print_result(argparse.Namespace(json=as_json), {"entries": 3}, "3 entries")
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2, "1.0 MiB"), (5 * 1024**3, "5.0 GiB")]
)
def test_bytes_have_a_binary_unit(count: int, text: str) -> None:
    assert bytes_text(count) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_REDRAW_S", 0.0)
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress("verify") as show:
            show(1_000)
        assert ("\rverify: 1,000 keys, " in stream.getvalue()) == shown
        assert stream.getvalue().endswith("\n") == shown
