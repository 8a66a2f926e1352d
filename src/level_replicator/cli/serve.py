"""`level-replicator serve`."""

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from level_replicator.api.config import Config, read_toml
from level_replicator.api.replica import Replica
from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.install import open as open_replica

NAME = "serve"
HELP = (
    "Runs a master of its own on a directory, made if missing, until SIGTERM or Ctrl-C. Says on standard output when "
    "it is ready; logs go to standard error."
)
EXAMPLE = "level-replicator serve /tmp/lrep-0 --port 8000 --server 127.0.0.1:8001"
_STOP = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="has `db` and `rs` in it")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings (TOML); the options below come on top of it"
    )
    parser.add_argument("--host", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="where to listen; 0 takes a free port; without it the node only dials")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="HOST:PORT[=FINGERPRINT]",
        help="a peer to dial, and the fingerprint that it must show; may be repeated",
    )
    parser.add_argument(
        "--pems", type=Path, metavar="FILE", help="key file, see `keygen`: all connections are TLS then"
    )
    parser.add_argument("--trusted", type=Path, metavar="FILE", help="fingerprints that are welcome, one a line")
    parser.add_argument("--pull-only", action="store_true", default=None, help="take no writes of its own")
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="where the status page, /status.json, /metrics, /healthz and /readyz are answered (default: nowhere)",
    )
    parser.add_argument("--adopt", action="store_true", help="take over the data that the database holds already")
    parser.add_argument("--json", action="store_true", help="the ready line as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def run(arguments: argparse.Namespace) -> int:
    """Serves; returns the exit status: 0 when it was told to stop."""
    level = logging.DEBUG if arguments.verbose else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("level_replicator")
    logger.addHandler(handler)
    level_before = logger.level
    logger.setLevel(level)
    try:
        with (
            _told_to_stop() as wait,
            open_replica(arguments.directory, _settings(arguments), adopt=arguments.adopt) as replica,
        ):
            print(_ready_line(replica, as_json=arguments.json), flush=True)
            tell_systemd("READY=1")
            wait()
            tell_systemd("STOPPING=1")
    except ReplicationError as error:
        print(f"level-replicator serve: {error}", file=sys.stderr)
        return 1
    finally:
        logger.setLevel(level_before)
        logger.removeHandler(handler)
    return 0


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], None]]:
    """Waits for a signal to stop, from now on.

    By the socket that the interpreter writes to at once, in whatever thread it gets the signal. An Event that a Python
    handler sets would be missed when the signal comes in another thread, or just before this one goes to sleep: the
    handler runs in this one, and only when it wakes up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = {each: signal.signal(each, lambda *_: None) for each in _STOP}
        old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

        def wait() -> None:
            while ours.recv(1)[0] not in _STOP:
                pass

        try:
            yield wait
        finally:
            signal.set_wakeup_fd(old)
            for each, handler in before.items():
                signal.signal(each, handler)


def _settings(arguments: argparse.Namespace) -> Config:
    """The file, and what the command line says on top of it; checked together. Raises ConfigError."""
    settings: dict[str, Any] = {} if arguments.config is None else read_toml(arguments.config)
    for name in ("host", "port", "pems", "trusted", "pull_only"):
        if getattr(arguments, name) is not None:
            settings[name] = getattr(arguments, name)
    if arguments.metrics is not None:
        settings["metrics"] = int(arguments.metrics) if arguments.metrics.isdecimal() else arguments.metrics
    if arguments.server:
        settings["servers"] = {**settings.get("servers", {}), **dict(map(_server, arguments.server))}
    return Config.of(settings)


def _server(text: str) -> tuple[str, Mapping[str, Any]]:
    address, equals, fingerprint = text.partition("=")
    return address, ({"fingerprint": fingerprint} if equals else {})


def _ready_line(replica: Replica, *, as_json: bool) -> str:
    status = replica.status()
    address = f"{status['address'][0]}:{status['address'][1]}" if status["address"] else None
    servers = [peer["address"] for peer in status["peers"]]
    if as_json:
        told = {"ready": True, "address": address, "servers": servers}
        return json.dumps(told | {name: status[name] for name in ("origin", "keys", "fingerprint")})
    where = f"listening on {address}" if address else "not listening"
    dialling = ", ".join(servers) or "nobody"
    return f"ready: {where}, {status['keys']:,} keys, dialling {dialling}, origin {status['origin']}"


def tell_systemd(state: str) -> None:
    """What sd_notify does, where the service has Type=notify."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), address)
    except OSError as error:
        raise ConfigError(f"NOTIFY_SOCKET: {where} cannot be told: {error.strerror or error}") from error
