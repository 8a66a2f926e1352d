"""What monitoring asks of a replica, over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`.

Each is made from Replica.status at the moment when it is asked. Needs the extra `metrics`. docs: README, "Monitoring".
"""

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
_BUSY = (PeerState.SCANNING.value, PeerState.RECONCILING.value)

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

    def start(self, status: Callable[[], Status], alive: Callable[[], None]) -> None:
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
            if path == "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start)
                return answer
            if path == "/healthz":
                return _say(start, self._ill())
            if path == "/readyz":
                return _say(start, self._ill() or self._busy())
        except ClosedError:
            return _say(start, "the replica is closed")
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /healthz, /readyz\n"]

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
        names = [_label(peer) for peer in self._status()["peers"] if peer["state"] in _BUSY]
        return f"catching up with {', '.join(names)}" if names else ""


def _say(start: "StartResponse", wrong: str) -> list[bytes]:
    start("503 Service Unavailable" if wrong else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [(wrong or "ok").encode() + b"\n"]
