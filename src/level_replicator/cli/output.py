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
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from level_replicator.api.field_checks import parse_duration, parse_size
from level_replicator.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")
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
    return "".join(_escaped(each) for each in data.decode("utf-8", "surrogateescape"))


def _escaped(character: str) -> str:
    """Return a printable character as it is, and another one, or a backslash, as an escape sequence of Python."""
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode()


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


# -- arguments with units


def size(text: str) -> int:
    """Parse a size, for argparse."""
    return _parsed(parse_size, text)


def duration(text: str) -> float:
    """Parse a duration, for argparse."""
    return _parsed(parse_duration, text)


def _parsed(parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# -- results


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as "1 key" or "2,000 keys"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


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


# -- terminals


def make_console() -> "Console | None":
    """Return a console of rich for standard output. None where plain text is better: not a terminal, NO_COLOR,
    TERM=dumb, or rich is not installed."""
    return _console(sys.stdout)


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False)


def styled(console: "Console | None", *parts: str | tuple[str, str]) -> None:
    """Print one line, made of texts and of (text, style). Long lines wrap at the edge of a terminal only."""
    if console is None:
        print("".join(part if isinstance(part, str) else part[0] for part in parts))
        return
    from rich.text import Text

    console.print(Text.assemble(*parts), soft_wrap=True)


@contextmanager
def progress(command: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Return a function that shows a number of keys on standard error, with the rate; with a total also a bar and the
    time left. It shows nothing if standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda keys: None
        return
    console = _console(sys.stderr)
    with _plain_progress(command) if console is None else _bar(console, command, total) as show:
        yield show


@contextmanager
def _bar(console: "Console", command: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")]
    columns.append(TimeElapsedColumn() if total is None else TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(command, total=total, text="")

        def show(keys: int) -> None:
            rate = keys / max(time.monotonic() - begun, 1e-9)
            of = "" if total is None else f" of {max(total, keys):,}"
            bars.update(
                task,
                completed=keys,
                total=None if total is None else max(total, keys),
                text=f"{keys:,}{of} keys, {rate:,.0f} keys/s",
            )

        yield show


@contextmanager
def _plain_progress(command: str) -> Iterator[Callable[[int], None]]:
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
