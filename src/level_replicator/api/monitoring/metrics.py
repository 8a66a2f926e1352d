"""The metrics of a replica for Prometheus, made from its status. docs/operations.md ("Monitoring") describes each."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from level_replicator.api.status import PeerStatus, Status
from level_replicator.replication.peers import PeerState

if TYPE_CHECKING:
    from prometheus_client import Metric

_PREFIX = "level_replicator_"
_SINCE_OPENED = " Since the node was opened."

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
            states.add_metric([peer_label(peer), state.value], float(peer["state"] == state.value))
    yield states
    for name, (text, gauge_key) in _PEER_GAUGES.items():
        gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["peer"])
        for peer in peers:
            value = peer[gauge_key]
            if value is not None:
                gauge.add_metric([peer_label(peer)], value)
        yield gauge
    for name, (text, counter_key) in _PEER_COUNTERS.items():
        counter = CounterMetricFamily(_PREFIX + name, text + _SINCE_OPENED, labels=["peer"])
        for peer in peers:
            counter.add_metric([peer_label(peer)], peer[counter_key])
        yield counter


def peer_label(peer: PeerStatus) -> str:
    """Return a label that stays the same over reconnections: a peer that dials us has a new port each time."""
    return str(peer["name"] or (peer["address"] if peer["dialled"] else peer["origin"]))
