"""What the commands have in common: which node or directory a command is about, and how it is reached.

Also the exit statuses, the forms in which keys and values are read and printed (text, hexadecimal digits, Base64), and
a replica that no other process has open.
"""

import argparse
import base64
import binascii
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from level_replicator.api.config import Config
from level_replicator.api.replica import Replica
from level_replicator.client.connect import Client, connect, path_of
from level_replicator.core.errors import ConfigError, ConnectionLostError
from level_replicator.install import RS_OPTIONS, install
from level_replicator.install import open as open_replica
from level_replicator.storage.engine.plyvel import open_engine

TEXT, HEX, BASE64 = "text", "hex", "base64"


def add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-e",
        "--encoding",
        choices=(TEXT, HEX, BASE64),
        default=TEXT,
        help="of keys and values, as they are given and as they are shown (default: text)",
    )


def to_bytes(text: str, encoding: str, what: str) -> bytes:
    """What was typed. Raises UsageError."""
    try:
        if encoding == HEX:
            return bytes.fromhex(text)
        if encoding == BASE64:
            return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UsageError(f"{what}: {text!r} is not {encoding}: {error}") from None
    return os.fsencode(text)


def to_text(data: bytes, encoding: str) -> str:
    """For people: one line, without control characters."""
    if encoding == HEX:
        return data.hex()
    if encoding == BASE64:
        return base64.b64encode(data).decode()
    text = data.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def to_json(name: str, data: bytes | None, encoding: str) -> dict[str, Any]:
    """One member: text under the name, where it is none under name_base64; hex and Base64 always say what they are."""
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


DONE = 0
FAILED = 1
"""It could not be done, or something wrong was found."""
ASKED_WRONGLY = 2
"""As argparse has it."""
NOT_FOUND = 3
"""There is no such key: so that a script can tell it from a node that is not there."""
INTERRUPTED = 130
READER_GONE = 141


class UsageError(ConfigError):
    """What was typed cannot be meant, whatever the node is like."""


_ALONE = Config(log_max_bytes=None, log_max_age=None, tombstone_ttl=None)
"""It meets nobody, and how long things are kept is not for a command to decide."""


@contextmanager
def offline(directory: Path, rs: Path | None) -> Iterator[Replica]:
    """Opens `directory`/db and `directory`/rs; with `rs`, the LevelDB `directory` itself and that replication set.

    Raises as `open`, ConfigError also when there is no replica."""
    parts = (directory / "db", directory / "rs") if rs is None else (directory, rs)
    for part in parts:
        if (part / "CURRENT").exists():
            continue
        if rs is None and (directory / "CURRENT").exists():
            raise ConfigError(f"{directory} is itself a LevelDB: say with --rs where its replication set is")
        raise ConfigError(f"{directory} is not a replica: there is no LevelDB {part}")
    if rs is None:
        with open_replica(directory, _ALONE) as replica:
            yield replica
        return
    engines = [open_engine(part, create=False) for part in parts[:1]]
    try:
        engines.append(open_engine(rs, create=False, **RS_OPTIONS))
        replica = install(engines[0].db, engines[1].db, _ALONE)
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    with replica:
        yield replica


Database = Client | Replica


def add_where(
    parser: argparse.ArgumentParser, name: str = "where", *, rs: bool = False, metavar: str = "WHERE"
) -> None:
    """The arguments that say which."""
    parser.add_argument(
        name,
        metavar=metavar,
        help="a directory with `db` and `rs` in it (of a running node, or of one that is not), a Unix socket, or the"
        " HOST:PORT of a running node",
    )
    if rs:
        parser.add_argument("--rs", type=Path, metavar="RS", help="the replication set, when WHERE is itself a LevelDB")


def add_keys(parser: argparse.ArgumentParser) -> None:
    """For nodes with keys."""
    parser.add_argument("--pems", type=Path, metavar="FILE", help="our key file, for a node with keys at HOST:PORT")
    parser.add_argument(
        "--fingerprint", metavar="SHA256", help="of the certificate of that node (`level-replicator fingerprint`)"
    )
    parser.add_argument("--insecure", action="store_true", help="plain TCP to a node that is not on this machine")


def to_node(arguments: argparse.Namespace, where: str) -> Client:
    """Raises as `connect`."""
    return connect(
        where, pems=arguments.pems, fingerprint=arguments.fingerprint, insecure=arguments.insecure, timeout=10
    )


@contextmanager
def reached(arguments: argparse.Namespace) -> Iterator[Database]:
    """The node that runs there; of a directory that nobody has open, the replica itself.

    Raises as `connect` and `open`."""
    where = arguments.where
    rs = getattr(arguments, "rs", None)
    path = path_of(where)
    if path is not None and Path(where).is_dir():
        try:
            client = None if rs is not None else to_node(arguments, where)
        except ConnectionLostError:
            client = None
        if client is None:
            with offline(Path(where), rs) as replica:
                yield replica
            return
    elif path is not None and not path.exists():
        raise ConfigError(f"{where}: there is no such directory, and it is not HOST:PORT")
    else:
        client = to_node(arguments, where)
    with client:
        yield client


@contextmanager
def progress(what: str) -> Iterator[Callable[[int], None] | None]:
    """A line on stderr that counts keys; None, and nothing is shown, where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = threading.Event()

    def tell(keys: int) -> None:
        shown.set()
        print(f"\r{what}: {keys:,} keys", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown.is_set():
            print(file=sys.stderr)
