"""HTTP endpoints for monitoring: `/metrics` for Prometheus, `/healthz`, `/readyz`, `/status.json`, and the status page
at `/`.

Each response is made from `Replica.status` at the moment of the request. Needs the extra `metrics`. README.md,
"Monitoring", describes the metrics.
"""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from level_replicator.api.status import PeerStatus, Status
from level_replicator.api.status_page import content_security_policy, render_status_page
from level_replicator.core.errors import ClosedError, ConfigError
from level_replicator.core.limits import MAX_METRICS_CONNECTIONS
from level_replicator.replication.peers import PeerState

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import Metric

_log = logging.getLogger("level_replicator.metrics")
NO_EXTRA = "metrics need prometheus-client: pip install 'level-replicator[metrics]'"
_PREFIX = "level_replicator_"
_REQUEST_TIMEOUT_S = 10
_POLL_S = 0.05
_SINCE_OPENED = " Since the node was opened."
_PLAIN_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_STATUS_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_CATCHING_UP = (PeerState.SCANNING.value, PeerState.RECONCILING.value)

NodeGauge = Literal["keys", "entries", "log_bytes", "clients", "clock_ahead_s"]
PeerGauge = Literal["behind", "lag_s", "clock_ahead_s", "waiting_s", "stalled"]
PeerCounter = Literal["connections", "bytes_in", "bytes_out", "entries_in", "entries_out"]

_NODE_GAUGES: dict[str, tuple[str, NodeGauge]] = {
    "keys": ("Live keys in the database.", "keys"),
    "log_entries": ("Entries in the change log.", "entries"),
    "log_bytes": ("Approximate size of the change log on the disk.", "log_bytes"),
    "clients": ("Clients that are connected.", "clients"),
    "clock_ahead_seconds": ("How far the newest timestamp is ahead of the clock of this node.", "clock_ahead_s"),
}
_PEER_GAUGES: dict[str, tuple[str, PeerGauge]] = {
    "peer_behind_entries": ("Entries of our log that the peer lacks, counted up to a cap.", "behind"),
    "peer_lag_seconds": ("Age of the oldest entry that the peer lacks; 0: it lacks none.", "lag_s"),
    "peer_clock_ahead_seconds": ("How far the clock of the peer is ahead, at its last live change.", "clock_ahead_s"),
    "peer_waiting_seconds": ("How long this node has waited for the peer; 0: it does not wait.", "waiting_s"),
    "peer_stalled": ("1 when this node waits for the peer and applied nothing of it for a minute.", "stalled"),
}
_PEER_COUNTERS: dict[str, tuple[str, PeerCounter]] = {
    "peer_connections": ("Connections that were accepted.", "connections"),
    "peer_received_bytes": ("Session bytes from the peer.", "bytes_in"),
    "peer_sent_bytes": ("Session bytes to the peer.", "bytes_out"),
    "peer_received_entries": ("Entries from the peer.", "entries_in"),
    "peer_sent_entries": ("Entries to the peer.", "entries_out"),
}


class Collector:
    """A collector for a prometheus_client registry: reads the status once for each request of `/metrics`."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> "Iterable[Metric]":
        """Return nothing, so that registering the collector does not read the status."""
        return []

    def collect(self) -> "Iterator[Metric]":
        """Yield all metrics of one status. Raises ClosedError when the replica is closed."""
        status = self._status()
        yield from _node_metrics(status)
        yield from _peer_metrics(status["peers"])


def _node_metrics(status: Status) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    identity = {"origin": status["origin"], "protocol": str(status["protocol"])}
    yield InfoMetricFamily(_PREFIX + "node", "Origin of the node and version of its protocol.", identity)
    yield GaugeMetricFamily(_PREFIX + "failed", "1 when the node takes no more writes.", bool(status["failed"]))
    text = "1 while a bulk load is incomplete."
    yield GaugeMetricFamily(_PREFIX + "bulk_load_incomplete", text, status["bulk_load_incomplete"])
    text = "Values that are lost on this node and have not come back from a peer yet."
    yield GaugeMetricFamily(_PREFIX + "lost_values", text, status["lost"])
    for name, (text, key) in _NODE_GAUGES.items():
        yield GaugeMetricFamily(_PREFIX + name, text, status[key])
    floor = max(status["floor"].values(), default=0)
    text = "Time up to which the log was truncated, in seconds since 1970; 0: it was never truncated."
    yield GaugeMetricFamily(_PREFIX + "floor_timestamp_seconds", text, (floor >> 16) / 1000)
    text = "Conflicts that met on this node."
    yield CounterMetricFamily(_PREFIX + "conflicts", text + _SINCE_OPENED, status["conflicts"])
    text = "Entries that were sent again under a new dot, because a peer may have forgotten what they replaced."
    restamped = CounterMetricFamily(_PREFIX + "restamped", text + _SINCE_OPENED, labels=["kind"])
    restamped.add_metric(["value"], status["restamped_values"])
    restamped.add_metric(["tombstone"], status["restamped_tombstones"])
    yield restamped


def _peer_metrics(peers: list[PeerStatus]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    states = GaugeMetricFamily(_PREFIX + "peer_state", "1 for the current state of the peer.", labels=["peer", "state"])
    for peer in peers:
        for state in PeerState:
            states.add_metric([_label(peer), state.value], float(peer["state"] == state.value))
    yield states
    for name, (text, gauge_key) in _PEER_GAUGES.items():
        gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["peer"])
        for peer in peers:
            value = peer[gauge_key]
            if value is not None:
                gauge.add_metric([_label(peer)], value)
        yield gauge
    for name, (text, counter_key) in _PEER_COUNTERS.items():
        counter = CounterMetricFamily(_PREFIX + name, text + _SINCE_OPENED, labels=["peer"])
        for peer in peers:
            counter.add_metric([_label(peer)], peer[counter_key])
        yield counter


def _label(peer: PeerStatus) -> str:
    """Return a label that stays the same over reconnections: a peer that dials us has a new port each time."""
    return str(peer["name"] or (peer["address"] if peer["dialled"] else peer["origin"]))


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each connection, at most MAX_METRICS_CONNECTIONS: a new connection above it ends
    the oldest one, so that idle connections cannot keep monitoring out."""

    daemon_threads = True

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
        names = [_label(peer) for peer in self._status()["peers"] if peer["state"] in _CATCHING_UP]
        return f"catching up with {', '.join(names)}" if names else ""


def _respond_health(start: "StartResponse", fault: str) -> list[bytes]:
    start("503 Service Unavailable" if fault else "200 OK", [_PLAIN_TEXT])
    return [(fault or "ok").encode() + b"\n"]
