"""Input and output of the commands: encodings of keys and values, JSON or text, progress on a terminal.

Data goes to standard output, everything else to standard error.
"""

import argparse
import base64
import binascii
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from level_replicator.core.errors import ConfigError

TEXT, HEX, BASE64 = "text", "hex", "base64"
_MAX_SHOWN = 60
"""Characters of a value in a line of text."""
_REDRAW_S = 0.1


class UsageError(ConfigError):
    """The arguments of a command are invalid, whatever the state of the node."""


# -- keys and values


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the option for the encoding of keys and values."""
    parser.add_argument(
        "-e",
        "--encoding",
        choices=(TEXT, HEX, BASE64),
        default=TEXT,
        help="encoding of keys and values, in the arguments and in the output (default: text)",
    )


def to_bytes(text: str, encoding: str, argument: str) -> bytes:
    """Decode an argument. Raises UsageError, which names the argument."""
    try:
        if encoding == HEX:
            return bytes.fromhex(text)
        if encoding == BASE64:
            return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UsageError(f"{argument}: {text!r} is not {encoding}: {error}") from None
    return os.fsencode(text)


def to_text(data: bytes, encoding: str) -> str:
    """Encode a key or value as one line without control characters."""
    if encoding == HEX:
        return data.hex()
    if encoding == BASE64:
        return base64.b64encode(data).decode()
    text = data.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def to_json(name: str, data: bytes | None, encoding: str) -> dict[str, Any]:
    """Return one member of a JSON object: NAME for text and None, NAME_base64 for bytes that are not UTF-8, and
    NAME_hex or NAME_base64 if this encoding was chosen."""
    if data is None:
        return {name: None}
    if encoding == HEX:
        return {f"{name}_hex": data.hex()}
    if encoding == TEXT:
        try:
            return {name: data.decode("utf-8")}
        except UnicodeDecodeError:
            pass
    return {f"{name}_base64": base64.b64encode(data).decode()}


# -- changes


def change_to_text(key: bytes, value: bytes | None, origin: str, stamp: int, encoding: str) -> str:
    """Return a change as one line: time (UTC), origin, operation. A long value is cut."""
    when = datetime.fromtimestamp((stamp >> 16) / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    if value is None:
        return f"{when}Z {origin} delete {to_text(key, encoding)}"
    text = to_text(value[: 2 * _MAX_SHOWN], encoding)
    cut = "…" if len(text) > _MAX_SHOWN or len(value) > 2 * _MAX_SHOWN else ""
    return f"{when}Z {origin} put    {to_text(key, encoding)} = {text[:_MAX_SHOWN]}{cut}"


def change_to_json(key: bytes, value: bytes | None, origin: str, stamp: int, encoding: str) -> dict[str, Any]:
    """Return a change as a JSON object, with the whole value."""
    return {
        **to_json("key", key, encoding),
        **to_json("value", value, encoding),
        "origin": origin,
        "stamp": stamp,
        "time_ms": stamp >> 16,
    }


# -- results


def print_result(arguments: argparse.Namespace, result: Any, text: str) -> None:
    """Print the result as JSON with `--json`, else the text."""
    print(json.dumps(result) if arguments.json else text)


def bytes_text(count: float) -> str:
    """Return a number of bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@contextmanager
def progress(command: str) -> Iterator[Callable[[int], None]]:
    """Return a function that shows a number of keys, and keys per second, in one line on standard error. It shows
    nothing if standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda keys: None
        return
    begun = shown = time.monotonic()

    def show(keys: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _REDRAW_S:
            shown = now
            rate = keys / max(now - begun, 1e-9)
            print(f"\r{command}: {keys:,} keys, {rate:,.0f} keys/s", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown > begun:
            print(file=sys.stderr)
