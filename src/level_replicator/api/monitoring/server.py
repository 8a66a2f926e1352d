"""The HTTP server for monitoring: `/metrics` for Prometheus, `/healthz`, `/readyz`, `/status.json`, and the status page
at `/`.

Each response is made from `Replica.status` at the moment of the request. Needs the extra `metrics`.
"""

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from level_replicator.api.monitoring.metrics import Collector, peer_label
from level_replicator.api.monitoring.status_page import content_security_policy, render_status_page
from level_replicator.api.status import Status
from level_replicator.core.errors import ClosedError, ConfigError
from level_replicator.core.limits import LISTEN_BACKLOG, MAX_METRICS_CONNECTIONS
from level_replicator.replication.peers import PeerState

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_log = logging.getLogger("level_replicator.metrics")
NO_EXTRA = "metrics need prometheus-client: pip install 'level-replicator[metrics]'"
_REQUEST_TIMEOUT_S = 10
_POLL_S = 0.05
_PLAIN_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_STATUS_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_CATCHING_UP = (PeerState.SCANNING.value, PeerState.RECONCILING.value)


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each connection, at most MAX_METRICS_CONNECTIONS: a new connection above it ends
    the oldest one, so that idle connections cannot keep monitoring out."""

    daemon_threads = True
    request_queue_size = LISTEN_BACKLOG
    """Connections that may wait to be accepted. With the default of the standard library, 5, a burst of connections
    overflows the queue of the kernel, and a client then waits for a second or more before it tries again."""

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._open: dict[Any, None] = {}
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            if len(self._open) >= MAX_METRICS_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # the thread of this connection reads the end of it and closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the error of a connection. The standard library would print a traceback, also for a port scan."""
        error = sys.exception()
        if isinstance(error, OSError):  # TimeoutError and ConnectionResetError among them
            _log.debug("the connection of %s ended before its request was answered: %s", client_address, error)
        else:
            _log.error("a request of %s failed", client_address, exc_info=error)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        _log.debug(format, *args)


class MetricsServer:
    """Answers HTTP requests between `start` and `close`; listens as soon as it is constructed, so that a port in use is
    reported before the replica starts.

    status       returns the status of the replica
    check_alive  raises TimeoutError if the event loop of the node does not respond

    Raises ConfigError if prometheus-client is not installed, or the address cannot be listened at."""

    def __init__(self, host: str, port: int, *, status: Callable[[], Status], check_alive: Callable[[], None]) -> None:
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app
        except ImportError as error:
            raise ConfigError(f"metrics: {NO_EXTRA}") from error
        registry = CollectorRegistry()
        registry.register(Collector(status))
        self._metrics = make_wsgi_app(registry)
        self._status = status
        self._check_alive = check_alive
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"metrics: cannot listen on {host}:{port}: {reason}") from error
        self._server.set_app(self._respond)
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=_POLL_S),
            name="level-replicator-metrics",
            daemon=True,
        )

    def start(self) -> None:
        """Start to answer requests."""
        self._thread.start()

    def close(self) -> None:
        """Stop. Idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _respond(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        try:
            if path == "/":
                return self._respond_page(start)
            if path == "/status.json":
                data = json.dumps(self._status()).encode()
                start("200 OK", [("Content-Type", "application/json"), *_STATUS_HEADERS])
                return [data]
            if path == "/metrics":
                body: Iterable[bytes] = self._metrics(environ, start)
                return body
            if path == "/healthz":
                return _respond_health(start, self._fault())
            if path == "/readyz":
                return _respond_health(start, self._fault() or self._catching_up())
        except ClosedError:
            return _respond_health(start, "the replica is closed")
        start("404 Not Found", [_PLAIN_TEXT])
        return [b"/, /status.json, /metrics, /healthz, /readyz\n"]

    def _respond_page(self, start: "StartResponse") -> list[bytes]:
        page = render_status_page(self._status())
        policy = ("Content-Security-Policy", content_security_policy())
        start("200 OK", [("Content-Type", "text/html; charset=utf-8"), policy, *_STATUS_HEADERS])
        return [page]

    def _fault(self) -> str:
        """Return why the node is not healthy; empty: it is healthy."""
        try:
            self._check_alive()
        except TimeoutError:
            return "the event loop does not answer"
        failed = self._status()["failed"]
        return f"no writes are taken: {failed}" if failed else ""

    def _catching_up(self) -> str:
        """Return which peers the node is still catching up with; empty: none."""
        names = [peer_label(peer) for peer in self._status()["peers"] if peer["state"] in _CATCHING_UP]
        return f"catching up with {', '.join(names)}" if names else ""


def _respond_health(start: "StartResponse", fault: str) -> list[bytes]:
    start("503 Service Unavailable" if fault else "200 OK", [_PLAIN_TEXT])
    return [(fault or "ok").encode() + b"\n"]
