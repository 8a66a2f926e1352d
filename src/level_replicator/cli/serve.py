"""`level-replicator serve`."""

import argparse
import dataclasses
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
from level_replicator.api.field_checks import show
from level_replicator.api.replica import Replica
from level_replicator.cli.output import counted
from level_replicator.cli.target import DONE, check_not_a_file
from level_replicator.core.errors import ConfigError
from level_replicator.install import open as open_replica

_log = logging.getLogger("level_replicator.cli")

_STOP = (signal.SIGTERM, signal.SIGINT)
_RELOAD = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # Windows has none
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}


class Serve:
    NAME = "serve"
    HELP = (
        "Run a node on a directory, which is created if missing, until SIGTERM or Ctrl-C. The command writes one line "
        "to standard output when the node is ready, and logs to standard error. SIGHUP reloads the keys, the trusted "
        "list and the log level; the log names other settings that changed and need a restart."
    )
    EXAMPLE = "level-replicator serve /tmp/lrep-0 --port 8000 --server 127.0.0.1:8001"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, metavar="DIR", help="the directory that contains `db` and `rs`")
        parser.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="settings (TOML), and `log_level`; the options below override them",
        )
        parser.add_argument("--host", help="address to listen at (default: 127.0.0.1)")
        parser.add_argument(
            "--port", type=int, help="port to listen at; 0: a free port; without this option the node only dials"
        )
        parser.add_argument(
            "--server",
            action="append",
            default=[],
            metavar="HOST:PORT[=FINGERPRINT]",
            help="a peer to dial, and the fingerprint of the certificate that it must show; can be repeated",
        )
        parser.add_argument(
            "--pems", type=Path, metavar="FILE", help="key file (see `keygen`): all connections use TLS"
        )
        parser.add_argument(
            "--trusted", type=Path, metavar="FILE", help="fingerprints of accepted peers, one in a line"
        )
        parser.add_argument(
            "--insecure",
            action="store_true",
            default=None,
            help="allow plain TCP beyond this machine: anyone who can connect can read and write all",
        )
        parser.add_argument("--pull-only", action="store_true", default=None, help="refuse local writes")
        parser.add_argument(
            "--metrics",
            metavar="[HOST:]PORT",
            help="where to answer the status page, /status.json, /metrics, /healthz and /readyz (default: nowhere)",
        )
        parser.add_argument("--adopt", action="store_true", help="adopt the data that the database already contains")
        parser.add_argument("--json", action="store_true", help="the ready line as JSON")
        parser.add_argument("-v", "--verbose", action="store_true", help="log more")

    def run(self, arguments: argparse.Namespace) -> int:
        """Return 0 after a signal to stop."""
        check_not_a_file(arguments.directory)
        config, level = _settings(arguments)
        with (
            _logging_to_stderr(level),
            _signals() as wait,
            open_replica(arguments.directory, config, adopt=arguments.adopt) as replica,
        ):
            print(_ready_line(replica, as_json=arguments.json), flush=True)
            notify_systemd("READY=1")
            while wait() not in _STOP:
                _reload(replica, arguments, config)
            notify_systemd("STOPPING=1")
        return DONE


@contextmanager
def _logging_to_stderr(level: int) -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("level_replicator")
    logger.addHandler(handler)
    level_before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(level_before)
        logger.removeHandler(handler)


@contextmanager
def _signals() -> Iterator[Callable[[], int]]:
    """Return a function that waits for the next signal to stop or to reload, and returns its number.

    It reads the socket that the interpreter writes to as soon as any thread receives the signal. A Python handler that
    sets an Event would not do: it runs in the main thread only, and a main thread that sleeps in `Event.wait` does not
    wake up for a signal that another thread received."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = {each: signal.signal(each, lambda *_: None) for each in (*_STOP, *_RELOAD)}
        old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

        def wait() -> int:
            while (number := ours.recv(1)[0]) not in (*_STOP, *_RELOAD):
                pass
            return number

        try:
            yield wait
        finally:
            signal.set_wakeup_fd(old)
            for each, handler in before.items():
                signal.signal(each, handler)


def _reload(replica: Replica, arguments: argparse.Namespace, config: Config) -> None:
    """Read the settings again, and apply those that can change while the node runs: the content of key files, the
    trusted list, and the log level. A mistake in them is logged and changes nothing.

    config  the settings with which the node was started"""
    try:
        new, level = _settings(arguments)
    except ConfigError as error:
        _log.error("the settings were not reloaded: %s", error)
        return
    logging.getLogger("level_replicator").setLevel(level)
    listed = new.trusted if isinstance(new.trusted, frozenset) and isinstance(config.trusted, frozenset) else None
    replica._reload_credentials(listed)
    live = set() if listed is None else {"trusted"}
    names = [each.name for each in dataclasses.fields(Config) if each.name not in live]
    changed = [name for name in names if getattr(new, name) != getattr(config, name)]
    if changed:
        _log.warning("the settings were reloaded, but changes of these need a restart: %s", ", ".join(changed))
    else:
        _log.info("the settings were reloaded")


def _settings(arguments: argparse.Namespace) -> tuple[Config, int]:
    """Return the settings of the file, overridden by those of the command line, and the log level. Raises
    ConfigError."""
    settings: dict[str, Any] = {} if arguments.config is None else read_toml(arguments.config)
    level = settings.pop("log_level", "info")
    in_file = dict(settings)
    if not isinstance(level, str) or level not in _LEVELS:
        raise ConfigError(
            f"{arguments.config}: log_level: {show(level)} is not a log level: expected one of {', '.join(_LEVELS)}"
        )
    for name in ("host", "port", "pems", "trusted", "pull_only", "insecure"):
        if getattr(arguments, name) is not None:
            settings[name] = getattr(arguments, name)
    if arguments.metrics is not None:
        settings["metrics"] = int(arguments.metrics) if arguments.metrics.isdecimal() else arguments.metrics
    if arguments.server:
        listed = settings.get("servers", {})
        # other types stay as they are, and are refused by Config
        settings["servers"] = {**listed, **dict(map(_server, arguments.server))} if isinstance(listed, dict) else listed
    try:
        config = Config.of(settings)
    except ConfigError as error:
        if arguments.config is None or _config_error(in_file) != str(error):
            raise
        raise ConfigError(f"{arguments.config}: {error}") from error.__cause__  # the cause decides the exit status
    return config, logging.DEBUG if arguments.verbose else _LEVELS[level]


def _config_error(settings: dict[str, Any]) -> str | None:
    """Return the text of the error in the settings; None: they are valid."""
    try:
        Config.of(settings)
    except ConfigError as error:
        return str(error)
    return None


def _server(text: str) -> tuple[str, Mapping[str, Any]]:
    address, equals, fingerprint = text.partition("=")
    return address, ({"fingerprint": fingerprint} if equals else {})


def _ready_line(replica: Replica, *, as_json: bool) -> str:
    status = replica.status()
    address = f"{status['address'][0]}:{status['address'][1]}" if status["address"] else None
    servers = [peer["address"] for peer in status["peers"]]
    if as_json:
        result = {"ready": True, "address": address, "servers": servers}
        return json.dumps(result | {name: status[name] for name in ("origin", "keys", "fingerprint")})
    where = f"listening on {address}" if address else "not listening"
    dialling = ", ".join(servers) or "no peers"
    return f"ready: {where}, {counted(status['keys'], 'key')}, dialling {dialling}, origin {status['origin']}"


def notify_systemd(state: str) -> None:
    """Send a state to systemd, as sd_notify does, if the service has Type=notify. Raises ConfigError."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), address)
    except OSError as error:
        raise ConfigError(f"NOTIFY_SOCKET: cannot send to {where}: {error.strerror or error}") from error
