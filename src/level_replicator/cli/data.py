"""`level-replicator get`, `put`, `delete` and `scan`."""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from level_replicator.cli.target import (
    NOT_FOUND,
    TEXT,
    UsageError,
    add_encoding,
    add_keys,
    add_where,
    reached,
    to_bytes,
    to_json,
    to_text,
)
from level_replicator.core.errors import ConfigError
from level_replicator.core.limits import MAX_VALUE_BYTES


class Get:
    NAME = "get"
    HELP = "Writes the value of a key to standard output. Exit status 3 when there is none."
    EXAMPLE = "level-replicator get /tmp/lrep-0 some-key"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the value there, as it is")
        add_encoding(parser)
        parser.add_argument("--json", action="store_true", help="key and value as JSON")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        key = to_bytes(arguments.key, arguments.encoding, "KEY")
        with reached(arguments) as database:
            value = database.get(key)
        if value is None:
            print(f"level-replicator get: there is no key {to_text(key, arguments.encoding)}", file=sys.stderr)
            return NOT_FOUND
        if arguments.output is not None:
            _write_file(arguments.output, value)
        elif arguments.json:
            print(json.dumps(to_json("key", key, arguments.encoding) | to_json("value", value, arguments.encoding)))
        elif arguments.encoding == TEXT:
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.write(b"\n" if sys.stdout.isatty() else b"")
        else:
            print(to_text(value, arguments.encoding))
        return 0


class Put:
    NAME = "put"
    HELP = "Writes a key. The value is an argument, a file, or standard input (`-`)."
    EXAMPLE = "level-replicator put /tmp/lrep-0 some-key some-value"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("value", metavar="VALUE", nargs="?", help="`-`: standard input, as it is")
        parser.add_argument("-i", "--input", type=Path, metavar="FILE", help="the value is what is in there, as it is")
        add_encoding(parser)
        parser.add_argument("--sync", action="store_true", default=None, help="return when it is on the disk")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        if (arguments.value is None) == (arguments.input is None):
            raise UsageError("VALUE, --input: one of the two")
        key = to_bytes(arguments.key, arguments.encoding, "KEY")
        if arguments.input is not None:
            value = _read_file(arguments.input)
        elif arguments.value == "-":
            value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
        else:
            value = to_bytes(arguments.value, arguments.encoding, "VALUE")
        with reached(arguments) as database:
            database.put(key, value, sync=arguments.sync)
        return 0


class Delete:
    NAME = "delete"
    HELP = "Deletes keys, together or not at all. One that is not there is no error."
    EXAMPLE = "level-replicator delete /tmp/lrep-0 some-key other-key"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("keys", metavar="KEY", nargs="+")
        add_encoding(parser)
        parser.add_argument("--sync", action="store_true", default=None, help="return when it is on the disk")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        keys = [to_bytes(key, arguments.encoding, "KEY") for key in arguments.keys]
        with reached(arguments) as database, database.write_batch(transaction=True, sync=arguments.sync) as batch:
            for key in keys:
                batch.delete(key)
        return 0


class Scan:
    NAME = "scan"
    HELP = "Shows keys and values in order, a line each with a tab between, as of one moment."
    EXAMPLE = "level-replicator scan /tmp/lrep-0 --prefix some- --limit 10"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_where(parser)
        parser.add_argument("--prefix", metavar="KEY", help="keys that begin so")
        parser.add_argument("--start", metavar="KEY", help="from this key on")
        parser.add_argument("--stop", metavar="KEY", help="up to this key, which is left out")
        parser.add_argument("--reverse", action="store_true", help="the last one first")
        parser.add_argument("--limit", type=int, metavar="N", help="no more than this")
        parser.add_argument("--keys", action="store_true", help="without values")
        add_encoding(parser)
        parser.add_argument("--json", action="store_true", help="a JSON object a line")
        add_keys(parser)

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        encoding = arguments.encoding
        options: dict[str, Any] = {"reverse": arguments.reverse}
        for name in ("prefix", "start", "stop"):
            if getattr(arguments, name) is not None:
                options[name] = to_bytes(getattr(arguments, name), encoding, f"--{name}")
        if "prefix" in options and len(options) > 2:
            raise UsageError("--prefix: not together with --start or --stop")
        if arguments.limit is not None and arguments.limit < 0:
            raise UsageError(f"--limit: {arguments.limit} is no number from 0")
        with reached(arguments) as database, database.iterator(**options, include_value=not arguments.keys) as found:
            for item in islice(found, arguments.limit):
                key, value = (item, None) if arguments.keys else item
                if arguments.json:
                    member = {} if arguments.keys else to_json("value", value, encoding)
                    print(json.dumps(to_json("key", key, encoding) | member))
                else:
                    shown = [to_text(key, encoding)] + ([] if value is None else [to_text(value, encoding)])
                    print(*shown, sep="\t")
        return 0


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
