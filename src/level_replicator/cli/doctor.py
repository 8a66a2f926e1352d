"""`level-replicator doctor`: why do these two nodes not sync?"""

import argparse
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from level_replicator.api.config import parse_address
from level_replicator.api.status import PeerStatus, Status
from level_replicator.cli.target import add_keys, add_where, to_node
from level_replicator.core.errors import ReplicationError
from level_replicator.core.limits import DEFAULT_MAX_CLOCK_DRIFT_S

NAME = "doctor"
HELP = (
    "Why does this node not sync, or these two with each other? Looks at both: whether they run, addresses, keys, "
    "clocks, versions and vectors, and says what to do. Exit status 1 when something is wrong."
)
EXAMPLE = "level-replicator doctor /tmp/lrep-0 /tmp/lrep-1"
OK, NOTE, WRONG = "ok", "note", "wrong"
_CONNECT_S = 3.0
_HELD = ("waiting", "connecting", "handshake")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_where(parser, metavar="NODE")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="another one, said in the same way")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    add_keys(parser)


@dataclass(frozen=True)
class Finding:
    """`advice`: what to do, if anything."""

    grade: str
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Node:
    """`skew_s`: of its clock against that of this machine."""

    where: str
    status: Status
    skew_s: float

    @property
    def origin(self) -> str:
        return self.status["origin"]

    def knows(self, other: "Node") -> PeerStatus | None:
        """What it tells of the other one."""
        for peer in self.status["peers"]:
            if peer["origin"] == other.origin:
                return peer
        address = other.status["address"]
        for peer in self.status["peers"]:
            if address and peer["origin"] is None and parse_address(peer["address"])[1] == address[1]:
                return peer
        return None


def run(arguments: argparse.Namespace) -> int:
    findings = []
    nodes = []
    for where in [arguments.where, *([arguments.other] if arguments.other else [])]:
        try:
            node = _ask(arguments, where)
        except ReplicationError as error:
            findings.append(
                Finding(WRONG, f"{where}: {error}", "start it: level-replicator serve; or say another address")
            )
            continue
        nodes.append(node)
        findings += _alone(node)
    if len(nodes) == 2:
        findings += _together(*nodes)
    if arguments.json:
        print(json.dumps([asdict(each) for each in findings], indent=2))
    else:
        for each in findings:
            print(f"{each.grade:5} {each.what}" + (f"\n      → {each.advice}" if each.advice else ""))
    return 1 if any(each.grade == WRONG for each in findings) else 0


def _ask(arguments: argparse.Namespace, where: str) -> Node:
    with to_node(arguments, where) as client:
        begun = time.time()
        status = client.status()
        middle = (begun + time.time()) / 2
    return Node(where, status, status["time_ms"] / 1000 - middle)


def _alone(node: Node) -> Iterator[Finding]:
    status = node.status
    address = "{}:{}".format(*status["address"]) if status["address"] else None
    listens = f"listens on {address}" if address else "does not listen, and can only dial"
    yield Finding(OK, f"{node.where} runs: origin {node.origin}, {status['keys']:,} keys, {listens}")
    if status["failed"]:
        yield Finding(WRONG, f"{node.where} takes no writes: {status['failed']}", "fix the disk, then start it again")
    if status["bulk_load_incomplete"]:
        yield Finding(NOTE, f"a bulk load of {node.where} is incomplete", "it continues when a peer connects")
    if status["lost"]:
        advice = "they come back when a peer that has them connects; if none has, `lrep verify --repair` gives them up"
        yield Finding(WRONG, f"{status['lost']:,} values are lost on {node.where}", advice)
    if abs(node.skew_s) > 1:
        grade = WRONG if abs(node.skew_s) > DEFAULT_MAX_CLOCK_DRIFT_S else NOTE
        yield Finding(
            grade,
            f"the clock of {node.where} is {abs(node.skew_s):.1f} s {'ahead of' if node.skew_s > 0 else 'behind'} this"
            " machine's",
            "set the clocks (NTP): a peer that is more than `max_clock_drift` ahead is quarantined",
        )
    if not status["peers"]:
        yield Finding(NOTE, f"{node.where} has no peers", "name some in `servers`, or dial it from others")
    for peer in status["peers"]:
        yield _peer(node, peer)


def _peer(node: Node, peer: PeerStatus) -> Finding:
    who = f"{node.where} → {peer['name'] or peer['address']}"
    error = peer["last_error"] or "nothing has happened yet"
    state = peer["state"]
    if state in ("live", "scanning", "reconciling"):
        if peer["stalled"]:
            text = f"{who}: {state}, but nothing of it was taken over for {peer['waiting_s'] or 0:.0f} s"
            return Finding(WRONG, f"{text}: waits for {peer['waiting_for']}", "read the logs of both nodes")
        behind = "" if peer["behind"] in (None, 0) else f", {peer['behind']:,} entries behind"
        return Finding(OK, f"{who}: {state}{behind}")
    if state == "gone":
        return Finding(NOTE, f"{who}: it dialled this node, and left: {error}")
    if state == "quarantined":
        return Finding(WRONG, f"{who}: {error}", "compare the clocks of both machines (date -u; NTP)")
    if state == "refused":
        return Finding(WRONG, f"{who}: {error}", _on_refusal(node, error))
    if "pems" in error:
        return Finding(WRONG, f"{who}: {state}: {error}", _on_refusal(node, error))
    reachable = _can_connect(peer["address"])
    if reachable is None:
        advice = "from here it can be reached: is there a firewall, or another network, between the two?"
    else:
        advice = f"from here it cannot be reached either ({reachable}): does it run, and is the address right?"
    return Finding(WRONG, f"{who}: {state}: {error}", advice)


def _on_refusal(node: Node, error: str) -> str:
    own = f" It has the fingerprint {node.status['fingerprint']}." if node.status["fingerprint"] else ""
    if "pinned" in error:
        return "the certificate is another one than `servers` pins: compare with `level-replicator fingerprint`." + own
    if "not accepted" in error or "accepted here" in error:
        return "put the fingerprint into `trusted` of the side that refuses." + own
    if "TLS" in error or "pems" in error:
        return "one side has keys and the other none: give both `pems`, or neither (loopback only)"
    if "version" in error:
        return "install the same version of level-replicator on both"
    if "same origin" in error or "origin" in error:
        return "one is a copy of the other: stop it, call level_replicator.new_origin on its rs, start it again"
    return "the text says why" + ("." + own if own else "")


def _can_connect(address: str) -> str | None:
    try:
        host, port = parse_address(address)
        with socket.create_connection((host, port), _CONNECT_S):
            return None
    except (OSError, ReplicationError) as error:
        return str(getattr(error, "strerror", None) or error)


def _together(a: Node, b: Node) -> Iterator[Finding]:
    if a.origin == b.origin:
        same = a.status["address"] == b.status["address"]
        yield (
            Finding(NOTE, "both are one and the same node")
            if same
            else Finding(WRONG, "both have the same origin: one is a copy of the other", _on_refusal(b, "same origin"))
        )
        return
    if a.status["protocol"] != b.status["protocol"]:
        versions = f"{a.status['protocol']} and {b.status['protocol']}"
        yield Finding(WRONG, f"they speak different versions of the protocol, {versions}", _on_refusal(a, "version"))
    if abs(a.skew_s - b.skew_s) > 1:
        apart = abs(a.skew_s - b.skew_s)
        grade = WRONG if apart > DEFAULT_MAX_CLOCK_DRIFT_S else NOTE
        yield Finding(grade, f"their clocks are {apart:.1f} s apart", "set the clocks (NTP)")
    if bool(a.status["fingerprint"]) != bool(b.status["fingerprint"]):
        yield Finding(WRONG, "one of them has keys, the other none", _on_refusal(a, "TLS"))
    if a.knows(b) is None and b.knows(a) is None:
        yield Finding(
            NOTE,
            "neither has ever met the other",
            "that is well when both have a peer in common; else name one in `servers` of the other",
        )
    lacks = [_lacking(one.status["vector"], other.status["vector"]) for one, other in ((a, b), (b, a))]
    if not any(lacks):
        yield Finding(OK, "both know the same: they are in sync")
        return
    for node, origins in zip((a, b), lacks, strict=True):
        if origins:
            yield Finding(NOTE, f"{node.where} does not have everything yet of {', '.join(origins)}")
    yield Finding(NOTE, "look again in a moment: if this stays, what is wrong above is the reason")


def _lacking(vector: dict[str, int], other: dict[str, int]) -> list[str]:
    return [f"origin {origin}" for origin, stamp in other.items() if vector.get(origin, 0) < stamp]
