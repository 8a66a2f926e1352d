"""Which node or directory a command is about, and how it is reached."""

import argparse
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from level_replicator.core.errors import ConfigError, ConnectionLostError
from level_replicator.edges.offline import offline
from level_replicator.face.connecting import Client, connect, path_of
from level_replicator.face.replica import Replica

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
