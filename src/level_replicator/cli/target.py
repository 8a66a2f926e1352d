"""The node that a command is about, how it is reached, and what all such commands share: their options and exit
statuses.

A command reaches a running node as a client. A directory that no process has open is opened as a replica of its own,
which neither listens nor dials.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from level_replicator.api.config import Config
from level_replicator.api.replica import Replica
from level_replicator.cli.output import UsageError, add_encoding
from level_replicator.client.connect import Client, connect, path_of
from level_replicator.core.errors import ConfigError, ConnectionLostError
from level_replicator.install import RS_OPTIONS, install
from level_replicator.install import open as open_replica
from level_replicator.storage.engine.plyvel import open_engine

DONE = 0
FAILED = 1
"""The command failed, or found something wrong."""
INVALID_USAGE = 2
"""As argparse has it."""
NOT_FOUND = 3
"""There is no such key: a status of its own, so that a script can tell it from a node that cannot be reached."""
INTERRUPTED = 130
READER_GONE = 141

OFFLINE = Config(log_max_bytes=None, log_max_age=None, tombstone_ttl=None)
"""For a replica that a command opens: no peers, and no retention, which the node's own configuration decides."""

Database = Client | Replica


class NodeCommand:
    """A command about one node. A subclass has its own options and one function, `run`.

    NAME, HELP, EXAMPLE  for `--help`; the tests run the example
    JSON                 help of `--json`; empty: the command has no such option
    ENCODED              whether keys or values are given or shown, in the encoding of `--encoding`
    """

    NAME: str
    HELP: str
    EXAMPLE: str
    JSON: str = ""
    ENCODED: bool = False

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this command. Default: there are none."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command, and return the exit status. Raises ReplicationError, whose text is shown."""
        raise NotImplementedError

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add all arguments: the node, the options of this command, and the shared ones."""
        add_where(parser)
        parser.add_argument("--rs", type=Path, metavar="RS", help="the replication set, if WHERE is itself a LevelDB")
        self.add_options(parser)
        if self.ENCODED:
            add_encoding(parser)
        if self.JSON:
            parser.add_argument("--json", action="store_true", help=self.JSON)
        add_keys(parser)


def add_where(parser: argparse.ArgumentParser, metavar: str = "WHERE") -> None:
    """Add the argument that names the node."""
    parser.add_argument(
        "where",
        metavar=metavar,
        help="a directory with `db` and `rs` in it (of a running node or a stopped one), a Unix socket, or the"
        " HOST:PORT of a running node",
    )


def add_keys(
    parser: argparse.ArgumentParser,
    *,
    fingerprint_metavar: str = "SHA256",
    fingerprint_help: str = "fingerprint of the certificate of that node (`level-replicator fingerprint` prints it)",
) -> None:
    """Add the options for connections to a node with keys. Every `--fingerprint` adds one to a list."""
    parser.add_argument("--pems", type=Path, metavar="FILE", help="our key file, for a node with keys at HOST:PORT")
    parser.add_argument("--fingerprint", action="append", metavar=fingerprint_metavar, help=fingerprint_help)
    parser.add_argument("--insecure", action="store_true", help="use plain TCP to a node on another machine")


def to_node(arguments: argparse.Namespace, where: str, fingerprints: list[str] | None) -> Client:
    """Connect to a running node, which must have one of the fingerprints. Raises as `connect`, but the errors name
    options of the command line instead of parameters of `connect`."""
    if path_of(where) is not None:
        check_not_a_file(Path(where))
    try:
        return connect(where, pems=arguments.pems, fingerprint=fingerprints, insecure=arguments.insecure, timeout=10)
    except (ConfigError, ConnectionLostError) as error:
        text = str(error).removeprefix("where: ")
        for name in _CONNECT_OPTIONS:
            text = text.replace(f"`{name}`", f"--{name}")
        raise type(error)(text) from error.__cause__  # the cause decides the exit status


_CONNECT_OPTIONS = ("pems", "fingerprint", "insecure")
"""Parameters of `connect` that are options of the command line."""


def check_not_a_file(path: Path) -> None:
    """Raise UsageError if the path of a node is a regular file."""
    if path.is_file():
        raise UsageError(f"{path} is a file: expected a directory")


def needs_keys(error: ConnectionLostError) -> bool:
    """Return whether `to_node` failed because the node probably expects TLS, and no keys were given."""
    return "Then give --pems" in str(error)


@contextmanager
def reached(arguments: argparse.Namespace) -> Iterator[Database]:
    """Return the running node at WHERE as a client; for a directory that no process has open, the replica itself.

    Raises as `connect` and `open`."""
    where = arguments.where
    rs = arguments.rs
    path = path_of(where)
    if rs is not None and not Path(where).is_dir():
        raise UsageError(f"--rs: {where} is not a directory: expected the directory of a LevelDB")
    if path is not None and Path(where).is_dir():
        try:
            client = None if rs is not None else to_node(arguments, where, arguments.fingerprint)
        except ConnectionLostError:
            client = None
        if client is None:
            with offline(Path(where), rs) as replica:
                yield replica
            return
    elif path is not None and not path.exists():
        raise ConfigError(f"{where}: there is no such directory, and it is not HOST:PORT")
    else:
        client = to_node(arguments, where, arguments.fingerprint)
    with client:
        yield client


@contextmanager
def offline(directory: Path, rs: Path | None) -> Iterator[Replica]:
    """Open `directory`/db and `directory`/rs as a replica; with `rs`, the LevelDB `directory` itself and that
    replication set.

    Raises as `open`, and ConfigError if there is no replica."""
    parts = (directory / "db", directory / "rs") if rs is None else (directory, rs)
    for part in parts:
        if (part / "CURRENT").exists():
            continue
        if rs is None and (directory / "CURRENT").exists():
            raise ConfigError(f"{directory} is itself a LevelDB: give the directory of its replication set with --rs")
        raise ConfigError(f"{directory} is not a replica: there is no LevelDB {part}")
    if rs is None:
        with open_replica(directory, OFFLINE) as replica:
            yield replica
        return
    engines = [open_engine(part, create=False) for part in parts[:1]]
    try:
        engines.append(open_engine(rs, create=False, **RS_OPTIONS))
        replica = install(engines[0].db, engines[1].db, OFFLINE)
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    with replica:
        yield replica
