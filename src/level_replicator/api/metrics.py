"""What monitoring asks of a replica, over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`, `/status.json`, and
the status page `/` for people.

Each is made from Replica.status at the moment when it is asked. Needs the extra `metrics`. docs: README, "Monitoring".
"""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

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
_BUSY = (PeerState.SCANNING.value, PeerState.RECONCILING.value)
Status = Callable[[], dict[str, Any]]
_PLAIN = [("Content-Type", "text/plain; charset=utf-8")]
_PRIVATE = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]

_OF_NODE = {
    "keys": ("Live keys in the database.", "keys"),
    "log_entries": ("Entries in the change log.", "entries"),
    "log_bytes": ("About how much of the disk the change log takes.", "log_bytes"),
    "clients": ("Clients that are connected.", "clients"),
    "clock_ahead_seconds": ("How far the stamps are ahead of the clock, since some node's clock is.", "clock_ahead_s"),
}
_OF_PEER = {
    "peer_behind_entries": ("Entries of our log that the peer lacks, counted up to a cap.", "behind"),
    "peer_lag_seconds": ("Age of the oldest entry that the peer lacks; 0 when it lacks none.", "lag_s"),
    "peer_clock_ahead_seconds": ("How far the peer's clock is ahead, at its last live change.", "clock_ahead_s"),
    "peer_waiting_seconds": ("How long this node has waited for something of the peer; 0: it does not.", "waiting_s"),
    "peer_stalled": ("1 when nothing of it was taken over for a minute, though this node waits for it.", "stalled"),
}
_OF_PEER_TOTAL = {
    "peer_connections": ("Connections that stood.", "connections"),
    "peer_received_bytes": ("Session bytes from the peer.", "bytes_in"),
    "peer_sent_bytes": ("Session bytes to the peer.", "bytes_out"),
    "peer_received_entries": ("Entries from the peer.", "entries_in"),
    "peer_sent_entries": ("Entries to the peer.", "entries_out"),
}


class Collector:
    """For a prometheus_client registry."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> "Iterable[Metric]":
        """So that registering asks for nothing."""
        return []

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        status = self._status()
        yield InfoMetricFamily(
            _PREFIX + "node",
            "Which node this is.",
            {"origin": status["origin"], "protocol": str(status["protocol"])},
        )
        yield GaugeMetricFamily(_PREFIX + "failed", "1 when no writes are taken any more.", bool(status["failed"]))
        text = "1 while a bulk load that was begun is not complete."
        yield GaugeMetricFamily(_PREFIX + "bulk_load_incomplete", text, status["bulk_load_incomplete"])
        text = "Values that are lost on this node, and wait to come from a peer."
        yield GaugeMetricFamily(_PREFIX + "lost_values", text, status["lost"])
        for name, (text, key) in _OF_NODE.items():
            yield GaugeMetricFamily(_PREFIX + name, text, status[key])
        floor = max(status["floor"].values(), default=0)
        text = "Up to when the log is truncated, seconds since 1970; 0: it never was."
        yield GaugeMetricFamily(_PREFIX + "floor_timestamp_seconds", text, (floor >> 16) / 1000)
        yield CounterMetricFamily(
            _PREFIX + "conflicts", "Conflicts that met here since the node was opened.", status["conflicts"]
        )
        text = "Entries that had to travel again under a new dot, since a peer may have forgotten what they replaced."
        restamped = CounterMetricFamily(_PREFIX + "restamped", text + " Since the node was opened.", labels=["kind"])
        restamped.add_metric(["value"], status["restamped_values"])
        restamped.add_metric(["tombstone"], status["restamped_tombstones"])
        yield restamped
        text = "1 for the state that a peer is in."
        state = GaugeMetricFamily(_PREFIX + "peer_state", text, labels=["peer", "state"])
        for peer in status["peers"]:
            for each in PeerState:
                state.add_metric([_name(peer), each.value], float(peer["state"] == each.value))
        yield state
        for name, (text, key) in _OF_PEER.items():
            gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["peer"])
            for peer in status["peers"]:
                if peer[key] is not None:
                    gauge.add_metric([_name(peer)], peer[key])
            yield gauge
        for name, (text, key) in _OF_PEER_TOTAL.items():
            counter = CounterMetricFamily(_PREFIX + name, text + " Since the node was opened.", labels=["peer"])
            for peer in status["peers"]:
                counter.add_metric([_name(peer)], peer[key])
            yield counter


def _name(peer: dict[str, Any]) -> str:
    """The same whenever it comes back: one that dials us has another port each time."""
    return str(peer["name"] or (peer["address"] if peer["dialled"] else peer["origin"]))


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a connection, and not without end: whoever reaches the port may open as many as it likes."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._open: dict[Any, None] = {}
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            if len(self._open) >= MAX_METRICS_CONNECTIONS:
                first = next(iter(self._open))
                del self._open[first]
                with suppress(OSError):
                    first.shutdown(socket.SHUT_RDWR)  # its thread reads the end of it, and closes it
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
    """Listens from the start, answers from `start` to `close`.

    Raises ConfigError when the extra is not installed, or it cannot listen."""

    def __init__(self, host: str, port: int) -> None:
        try:
            import prometheus_client  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"metrics: {NO_EXTRA}") from error
        self._thread: threading.Thread | None = None
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"metrics: cannot listen on {host}:{port}: {reason}") from error
        self._server.set_app(self._answer)
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]

    def start(self, status: Status, alive: Callable[[], None]) -> None:
        """`alive` raises TimeoutError when the event loop does not answer."""
        from prometheus_client import CollectorRegistry, make_wsgi_app

        registry = CollectorRegistry()
        registry.register(Collector(status))
        self._metrics = make_wsgi_app(registry)
        self._status = status
        self._alive = alive
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, poll_interval=_POLL_S),
            name="level-replicator-metrics",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Idempotent."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _answer(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        try:
            if path == "/":
                page = render_status_page(self._status())
                kind = [("Content-Type", "text/html; charset=utf-8")]
                start("200 OK", [*kind, ("Content-Security-Policy", content_security_policy()), *_PRIVATE])
                return [page]
            if path == "/status.json":
                data = json.dumps(self._status()).encode()
                start("200 OK", [("Content-Type", "application/json"), *_PRIVATE])
                return [data]
            if path == "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start)
                return answer
            if path == "/healthz":
                return _say(start, self._ill())
            if path == "/readyz":
                return _say(start, self._ill() or self._busy())
        except ClosedError:
            return _say(start, "the replica is closed")
        start("404 Not Found", list(_PLAIN))
        return [b"/, /status.json, /metrics, /healthz, /readyz\n"]

    def _ill(self) -> str:
        """What is wrong with the node, if anything."""
        try:
            self._alive()
        except TimeoutError:
            return "the event loop does not answer"
        failed = self._status()["failed"]
        return f"no writes are taken: {failed}" if failed else ""

    def _busy(self) -> str:
        """What it still has to do before its answers are as good as those of its peers."""
        names = [_name(peer) for peer in self._status()["peers"] if peer["state"] in _BUSY]
        return f"catching up with {', '.join(names)}" if names else ""


def _say(start: "StartResponse", wrong: str) -> list[bytes]:
    start("503 Service Unavailable" if wrong else "200 OK", list(_PLAIN))
    return [(wrong or "ok").encode() + b"\n"]
