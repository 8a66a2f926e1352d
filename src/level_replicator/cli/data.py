"""`level-replicator get`, `put`, `delete` and `scan`."""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from level_replicator.cli.output import TEXT, UsageError, to_bytes, to_json, to_text
from level_replicator.cli.target import DONE, NOT_FOUND, NodeCommand, reached
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import MAX_VALUE_BYTES


def _add_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sync", action="store_true", default=None, help="return when the write is on the disk")


class Get(NodeCommand):
    NAME = "get"
    HELP = "Write the value of a key to standard output. Exit status 3 if there is no such key."
    EXAMPLE = "level-replicator get /tmp/lrep-0 some-key"
    JSON = "key and value as JSON"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the value unencoded to this file")

    def run(self, arguments: argparse.Namespace) -> int:
        encoding = arguments.encoding
        key = to_bytes(arguments.key, encoding, "KEY")
        with reached(arguments) as database:
            value = database.get(key)
        if value is None:
            print(f"level-replicator get: there is no key {_missing_key(key, encoding)}", file=sys.stderr)
            return NOT_FOUND
        if arguments.output is not None:
            _write_file(arguments.output, value)
        elif arguments.json:
            print(json.dumps(to_json("key", key, encoding) | to_json("value", value, encoding)))
        elif encoding == TEXT:
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.write(b"\n" if sys.stdout.isatty() else b"")
        else:
            print(to_text(value, encoding))
        return DONE


class Put(NodeCommand):
    NAME = "put"
    HELP = "Write a key. The value is an argument, a file, or standard input (`-`)."
    EXAMPLE = "level-replicator put /tmp/lrep-0 some-key some-value"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("value", metavar="VALUE", nargs="?", help="`-`: read it unencoded from standard input")
        parser.add_argument("-i", "--input", type=Path, metavar="FILE", help="read it unencoded from this file")
        _add_sync(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        if (arguments.value is None) == (arguments.input is None):
            raise UsageError("VALUE, --input: give exactly one of them")
        key = to_bytes(arguments.key, arguments.encoding, "KEY")
        if arguments.input is not None:
            value = _read_file(arguments.input)
        elif arguments.value == "-":
            value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
        else:
            value = to_bytes(arguments.value, arguments.encoding, "VALUE")
        with reached(arguments) as database:
            database.put(key, value, sync=arguments.sync)
        return DONE


class Delete(NodeCommand):
    NAME = "delete"
    HELP = "Delete keys in one atomic batch. A key that does not exist is not an error."
    EXAMPLE = "level-replicator delete /tmp/lrep-0 some-key other-key"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("keys", metavar="KEY", nargs="+")
        _add_sync(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        keys = [to_bytes(key, arguments.encoding, "KEY") for key in arguments.keys]
        with reached(arguments) as database, database.write_batch(transaction=True, sync=arguments.sync) as batch:
            for key in keys:
                batch.delete(key)
        return DONE


class Scan(NodeCommand):
    NAME = "scan"
    HELP = "Show keys and values in order, from one snapshot: a line for each key, with a tab before the value."
    EXAMPLE = "level-replicator scan /tmp/lrep-0 --prefix some- --limit 10"
    JSON = "a JSON object in each line"
    ENCODED = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--prefix", metavar="KEY", help="only keys with this prefix")
        parser.add_argument("--start", metavar="KEY", help="first key")
        parser.add_argument("--stop", metavar="KEY", help="end at this key, which is excluded")
        parser.add_argument("--reverse", action="store_true", help="in descending order")
        parser.add_argument("--limit", type=int, metavar="N", help="at most this many keys")
        parser.add_argument("--keys", action="store_true", help="keys only")

    def run(self, arguments: argparse.Namespace) -> int:
        encoding = arguments.encoding
        options: dict[str, Any] = {"reverse": arguments.reverse}
        for name in ("prefix", "start", "stop"):
            if getattr(arguments, name) is not None:
                options[name] = to_bytes(getattr(arguments, name), encoding, f"--{name}")
        if "prefix" in options and len(options) > 2:
            raise UsageError("--prefix: cannot be combined with --start or --stop")
        if arguments.limit is not None and arguments.limit < 0:
            raise UsageError(f"--limit: {arguments.limit} is negative: expected a number from 0")
        with reached(arguments) as database, database.iterator(**options, include_value=not arguments.keys) as found:
            for item in islice(found, arguments.limit):
                key, value = (item, None) if arguments.keys else item
                if arguments.json:
                    member = {} if value is None else to_json("value", value, encoding)
                    print(json.dumps(to_json("key", key, encoding) | member))
                else:
                    columns = [key] if value is None else [key, value]
                    print(*(to_text(each, encoding) for each in columns), sep="\t")
        return DONE


def _missing_key(key: bytes, encoding: str) -> str:
    """Return the key as text, with a hint if it was probably copied from the output of `scan`."""
    shown = to_text(key, encoding)
    if encoding == TEXT and b"\\" in key:
        return f"{shown}: escapes such as \\x00 are not decoded; give -e hex for binary keys, to `scan` and to `get`"
    return shown


def _write_file(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
