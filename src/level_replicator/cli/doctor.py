"""`level-replicator doctor`: find out why nodes do not sync."""

import argparse
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from level_replicator.api.status import PeerStatus, Status
from level_replicator.cli.output import UsageError, counted, make_console, styled
from level_replicator.cli.target import DONE, FAILED, add_keys, add_where, needs_keys, to_node
from level_replicator.core.errors import ConnectionLostError, ReplicationError
from level_replicator.core.limits import DEFAULT_MAX_CLOCK_DRIFT_S
from level_replicator.net.addresses import parse_address
from level_replicator.replication.peers import PeerErrorCode

OK, NOTE, WRONG = "ok", "note", "wrong"
_STYLES = {OK: "green", NOTE: "yellow", WRONG: "bold red"}
_CONNECT_S = 3.0
_CONNECTED = ("live", "scanning", "reconciling")
"""States of a peer that is connected."""


class Doctor:
    NAME = "doctor"
    HELP = (
        "Find out why a node does not sync, or why two nodes do not sync with each other. The command checks whether "
        "they run, their addresses, keys, clocks, versions and version vectors, and suggests a remedy. Exit status 1 "
        "if something is wrong."
    )
    EXAMPLE = "level-replicator doctor /tmp/lrep-0 /tmp/lrep-1"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_where(parser, metavar="NODE")
        parser.add_argument("other", metavar="OTHER", nargs="?", help="another node, given in the same way")
        parser.add_argument("--json", action="store_true", help="the findings as JSON")
        add_keys(
            parser,
            fingerprint_metavar="[NODE=]SHA256",
            fingerprint_help="fingerprint of the certificate of a node (`level-replicator fingerprint` prints it);"
            " repeat it, with NODE as given, for two nodes with keys",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        findings: list[Finding] = []
        nodes: list[Node] = []
        names = [arguments.where, *([arguments.other] if arguments.other else [])]
        fingerprints = _fingerprints(arguments.fingerprint or [], names)
        for where in names:
            try:
                node = _read_node(arguments, where, fingerprints[where])
            except ReplicationError as error:
                text = str(error)
                advice = _connect_advice(where, error)
                findings.append(Finding(WRONG, text if text.startswith(where) else f"{where}: {text}", advice))
                continue
            nodes.append(node)
            findings += _check_node(node)
        if len(nodes) == 2:
            findings += _check_pair(*nodes)
        if arguments.json:
            print(json.dumps([asdict(each) for each in findings], indent=2))
        else:
            _print_findings(findings)
        return FAILED if any(each.grade == WRONG for each in findings) else DONE


def _print_findings(findings: "list[Finding]") -> None:
    """Print all findings, and the number of problems. A remedy of several findings follows the last of them."""
    console = make_console()
    for number, each in enumerate(findings, 1):
        styled(console, (f"{each.grade:5}", _STYLES[each.grade]), f" {each.what}")
        if each.advice and all(each.advice != later.advice for later in findings[number:]):
            styled(console, (f"      → {each.advice}", "cyan"))
    problems = sum(each.grade == WRONG for each in findings)
    styled(console, (f"{counted(problems, 'problem')} found" if problems else "no problems found", "bold"))


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    grade   ok, note or wrong
    what    the finding, as a text
    advice  the suggested remedy; empty: none is needed
    """

    grade: str
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Node:
    """A node that responded.

    where   the node as it was given on the command line
    skew_s  seconds that its clock is ahead of the clock of this machine
    """

    where: str
    status: Status
    skew_s: float

    @property
    def origin(self) -> str:
        return self.status["origin"]

    def peer_status(self, other: "Node") -> PeerStatus | None:
        """Return the status of the other node as a peer of this one; None: they have not met, and this node does not
        dial the port of the other one."""
        for peer in self.status["peers"]:
            if peer["origin"] == other.origin:
                return peer
        address = other.status["address"]
        for peer in self.status["peers"]:
            if address and peer["origin"] is None and parse_address(peer["address"])[1] == address[1]:
                return peer
        return None


def _fingerprints(given: list[str], names: list[str]) -> dict[str, list[str] | None]:
    """Return the fingerprints that each node may have: those given for it, and those given without a node; None if
    there are none. Raises UsageError."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for each in given:
        name, _, fingerprint = each.rpartition("=")
        if name and name not in found:
            raise UsageError(f"--fingerprint: {name} is not one of the nodes: expected {' or '.join(names)}")
        for where in [name] if name else names:
            found[where].append(fingerprint)
    return {name: fingerprints or None for name, fingerprints in found.items()}


def _connect_advice(where: str, error: ReplicationError) -> str:
    """Return the remedy for a node that could not be asked; empty: the error itself names it."""
    if not isinstance(error, ConnectionLostError):
        return ""
    if needs_keys(error):
        return f"give --pems FILE and --fingerprint {where}=SHA256"
    return "start it (`level-replicator serve`), or give another address"


def _read_node(arguments: argparse.Namespace, where: str, fingerprints: list[str] | None) -> Node:
    with to_node(arguments, where, fingerprints) as client:
        begun = time.time()
        status = client.status()
        middle = (begun + time.time()) / 2
    return Node(where, status, status["time_ms"] / 1000 - middle)


_ADD_SERVER = "add the address of one node to `servers` of the other"


def _check_node(node: Node) -> Iterator[Finding]:
    status = node.status
    address = "{}:{}".format(*status["address"]) if status["address"] else None
    listens = f"listens on {address}" if address else "does not listen, and only dials"
    yield Finding(OK, f"{node.where} runs: origin {node.origin}, {counted(status['keys'], 'key')}, {listens}")
    if status["failed"]:
        yield Finding(WRONG, f"{node.where} takes no writes: {status['failed']}", "fix the disk, then start it again")
    if status["bulk_load_incomplete"]:
        yield Finding(NOTE, f"a bulk load of {node.where} is incomplete", "it continues when a peer connects")
    if status["lost"]:
        advice = "they come back from a peer that has them; `lrep verify --repair` gives them up if no peer has"
        yield Finding(WRONG, f"{counted(status['lost'], 'value')} lost on {node.where}", advice)
    if abs(node.skew_s) > 1:
        grade = WRONG if abs(node.skew_s) > DEFAULT_MAX_CLOCK_DRIFT_S else NOTE
        yield Finding(
            grade,
            f"the clock of {node.where} is {abs(node.skew_s):.1f} s {'ahead of' if node.skew_s > 0 else 'behind'} this"
            " machine's",
            "set the clocks (NTP): a peer that is more than `max_clock_drift` ahead is quarantined",
        )
    if not status["peers"]:
        yield Finding(NOTE, f"{node.where} has no peers", _ADD_SERVER)
    for peer in status["peers"]:
        yield _check_peer(node, peer)


def _check_peer(node: Node, peer: PeerStatus) -> Finding:
    link = f"{node.where} → {peer['name'] or peer['address']}"
    error = peer["last_error"] or "no connection was attempted yet"
    state = peer["state"]
    if state in _CONNECTED:
        if peer["stalled"]:
            text = f"{link}: {state}, but no change of it was applied for {peer['waiting_s'] or 0:.0f} s"
            return Finding(WRONG, f"{text}: waits for {peer['waiting_for']}", "read the logs of both nodes")
        behind = "" if peer["behind"] in (None, 0) else f", {peer['behind']:,} entries behind"
        return Finding(OK, f"{link}: {state}{behind}")
    if state == "gone":
        return Finding(NOTE, f"{link}: it dialled this node and disconnected: {error}")
    return Finding(WRONG, f"{link}: {state}: {error}", _peer_advice(node, peer))


_VERSIONS_DIFFER = "install the same version of level-replicator on both nodes"
_KEYS_ON_ONE_SIDE = "one node has keys and the other has none: set `pems` on both, or on neither (loopback only)"
_SAME_ORIGIN = (
    "one node is a copy of the other: stop it, run `lrep new-origin DIR` on its directory, and start it again"
)
_ADVICE = {
    PeerErrorCode.INSECURE: "set `pems` on both nodes, or, in a network that only trusted machines reach, `insecure`",
    PeerErrorCode.TLS: _KEYS_ON_ONE_SIDE,
    PeerErrorCode.REJECTED: "`identify` of this node rejects the peer, or does not decide in time",
    PeerErrorCode.DISCONNECTED: "it was disconnected by a call of `disconnect` on this node; it connects again",
    PeerErrorCode.PROTOCOL: _VERSIONS_DIFFER + ", and check that the address is that of a node",
    PeerErrorCode.VERSION: _VERSIONS_DIFFER,
    PeerErrorCode.CLOCK: "compare the clocks of both machines (date -u; NTP)",
    PeerErrorCode.DUPLICATE_ORIGIN: _SAME_ORIGIN,
    PeerErrorCode.SELF: "remove the address from `servers`",
    PeerErrorCode.BUSY: "one of the nodes has too many connections: remove peers that are not needed",
    PeerErrorCode.STORAGE: "a LevelDB failed: read the log of the node that reports it, and fix its disk",
}


def _peer_advice(node: Node, peer: PeerStatus) -> str:
    """Return the remedy for the last error of a peer that is not connected. It depends on the error code alone."""
    try:
        code = None if peer["last_error_code"] is None else PeerErrorCode(peer["last_error_code"])
    except ValueError:  # a newer node
        code = None
    match code:
        case PeerErrorCode.UNTRUSTED:
            return f"if the peer may connect, add its fingerprint to `trusted` of {node.where}: {peer['fingerprint']}"
        case PeerErrorCode.UNTRUSTED_THERE:
            return (
                f"add the fingerprint of {node.where} to `trusted` of the peer, or to its `servers`:"
                f" {node.status['fingerprint']}"
            )
        case PeerErrorCode.PIN:
            return (
                f"if the peer has a new key, set its fingerprint in `servers` of {node.where}; it shows"
                f" {peer['fingerprint']}"
            )
        case _ if code in _ADVICE:
            return _ADVICE[code]
    connect_error = _connect_error(peer["address"])
    if connect_error is None:
        return "it can be reached from this machine: check for a firewall between the two nodes"
    return f"it cannot be reached from this machine either ({connect_error}): check that it runs, and its address"


def _connect_error(address: str) -> str | None:
    """Try to connect from this machine. Returns the error; None: it is possible."""
    try:
        host, port = parse_address(address)
        with socket.create_connection((host, port), _CONNECT_S):
            return None
    except (OSError, ReplicationError) as error:
        return str(getattr(error, "strerror", None) or error)


def _check_pair(a: Node, b: Node) -> Iterator[Finding]:
    if a.origin == b.origin:
        if a.status["address"] == b.status["address"]:
            yield Finding(NOTE, "both arguments name the same node")
        else:
            yield Finding(WRONG, "both have the same origin", _SAME_ORIGIN)
        return
    if a.status["protocol"] != b.status["protocol"]:
        versions = f"{a.status['protocol']} and {b.status['protocol']}"
        yield Finding(WRONG, f"they have different protocol versions, {versions}", _VERSIONS_DIFFER)
    if abs(a.skew_s - b.skew_s) > 1:
        apart = abs(a.skew_s - b.skew_s)
        grade = WRONG if apart > DEFAULT_MAX_CLOCK_DRIFT_S else NOTE
        yield Finding(grade, f"their clocks are {apart:.1f} s apart", "set the clocks (NTP)")
    if bool(a.status["fingerprint"]) != bool(b.status["fingerprint"]):
        yield Finding(WRONG, "one of them has keys, the other has none", _KEYS_ON_ONE_SIDE)
    if a.peer_status(b) is None and b.peer_status(a) is None:
        yield Finding(
            NOTE,
            "they have never been connected",
            f"this is fine if other peers connect them; otherwise {_ADD_SERVER}"
            if a.status["peers"] or b.status["peers"]
            else _ADD_SERVER,
        )
    lacks = [_missing_origins(one.status["vector"], other.status["vector"]) for one, other in ((a, b), (b, a))]
    if not any(lacks):
        if any(peer is not None and peer["state"] in _CONNECTED for peer in (a.peer_status(b), b.peer_status(a))):
            yield Finding(OK, "they are in sync: their version vectors are equal or cover each other")
        else:
            yield Finding(NOTE, "they hold the same data, but are not connected")
        return
    for node, origins in zip((a, b), lacks, strict=True):
        if origins:
            yield Finding(NOTE, f"{node.where} is behind for {', '.join(origins)}")
    yield Finding(NOTE, "check again in a moment: if they stay behind, the findings above show the reason")


def _missing_origins(vector: dict[str, int], other: dict[str, int]) -> list[str]:
    return [f"origin {origin}" for origin, stamp in other.items() if vector.get(origin, 0) < stamp]
