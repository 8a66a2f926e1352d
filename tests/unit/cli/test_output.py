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
    counted,
    duration,
    print_result,
    progress,
    size,
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


def test_text_with_a_backslash_cannot_be_mistaken_for_an_escape() -> None:
    shown = {to_text(data, TEXT) for data in (b"a\nb", b"a\\nb", b"\xff", b"\\xff")}
    assert shown == {"a\\nb", "a\\\\nb", "\\xff", "\\\\xff"}


@pytest.mark.parametrize(("count", "text"), [(0, "0 keys"), (1, "1 key"), (2_000, "2,000 keys")])
def test_a_number_agrees_with_its_noun(count: int, text: str) -> None:
    assert counted(count, "key") == text
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(2, "entry", "entries") == "2 entries"


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("1.5", 1.5), ("500ms", 0.5), ("1h", 3600), ("30d", 30 * 86_400), ("2 min", 120)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("10", 10), ("1MB", 10**6), ("64KiB", 65_536), ("1.5 kib", 1536)])
def test_sizes_have_units(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1 parsec", "1e3", "nan"])
def test_what_is_no_quantity_is_refused_with_the_units(text: str) -> None:
    for parse in (size, duration):
        with pytest.raises(
            argparse.ArgumentTypeError, match=r"is not a .*: expected (bytes|seconds), or a number with"
        ):
            parse(text)


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


def test_progress_on_a_terminal_is_a_bar_with_the_rate_and_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("verify", 2_000) as show:
        show(1_000)
    assert "1,000 of 2,000 keys, " in terminal.getvalue()


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_REDRAW_S", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress("verify") as show:
            show(1_000)
        assert ("\rverify: 1,000 keys, " in stream.getvalue()) == shown
        assert stream.getvalue().endswith("\n") == shown
