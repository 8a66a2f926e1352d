"""The latency of an honest pair while unknown peers flood the node that is dialled.

Everything runs on one machine, so the attackers take their share of its cores: what is shown is the worst of both.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from OpenSSL import SSL

import level_replicator as lrep
from bench import latency, replicas
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context
from level_replicator.security.key_files import load_pems
from level_replicator.security.tls import Contexts

GROUP = "from a write to the secure peer's read, 100 writes/s"
QUIET = "nobody else"
_SILENT = 1_000


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    ours, theirs = lrep.generate_pems(), lrep.generate_pems()
    server: dict[str, Any] = {"pems": ours, "trusted": [lrep.fingerprint(theirs)]}
    client: dict[str, Any] = {"pems": theirs, "trusted": [lrep.fingerprint(ours)]}
    attacks: dict[str, Callable[..., Any] | None] = {
        QUIET: None,
        f"{_SILENT:,} silent connections": stay_silent,
        "connections with garbage, without end": send_garbage,
        "whole TLS handshakes of unknown keys, without end": shake_hands,
    }
    collector = Collector(GROUP)
    for run in range(options.runs):
        for name, attack in attacks.items():
            progress(f"{GROUP}: {name}, run {run + 1} of {options.runs}")
            waits_ms, served = _measure_once(options, server, client, attack)
            latency.add_percentiles(collector, waits_ms, f"{name}: ", None if attack is None else f"{QUIET}: ")
            if served:
                collector.add(f"{name}: attempts in all", "", float(served))
    return collector.series()


def _measure_once(
    options: Options, server: dict[str, Any], client: dict[str, Any], attack: Callable[..., Any] | None
) -> tuple[list[float], int]:
    count = options.latency_samples
    with (
        TemporaryDirectory(dir=options.directory) as directory,
        Worker() as writer,
        Worker() as reader,
        Worker() as attacker,
    ):
        address = writer.call(replicas.listen, path=str(Path(directory) / "writer"), keys=server)
        reader.call(replicas.dial, path=str(Path(directory) / "reader"), server=address, keys=client)
        writer.call(replicas.wait_in_sync)
        if attack is not None:
            attacker.call(attack, server=address)
        writer.call(latency.begin_writing, count=count)
        read = reader.call(latency.read_each, count=count)
        written = writer.call(latency.await_written)
        attempts = attacker.call(end_attack) if attack is not None else 0
    return [1000 * (end - begin) for begin, end in zip(written["begins"], read, strict=True)], attempts


# -- in the attacker


_over = threading.Event()
_attempts: list[int] = [0]
_open: list[socket.socket] = []


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host, int(port)


def stay_silent(_context: Context, *, server: str) -> None:
    for number in range(_SILENT):
        sock = socket.socket()
        sock.bind((f"127.2.{number % 50}.1", 0))
        sock.connect(_address(server))
        _open.append(sock)
        _attempts[0] += 1


def send_garbage(_context: Context, *, server: str) -> None:
    _again_and_again(lambda sock: sock.sendall(b"\x17\x03\x03\x40\x00" + b"x" * 20_000), server)


def shake_hands(_context: Context, *, server: str) -> None:
    contexts = Contexts(load_pems(lrep.generate_pems()))

    def shake(sock: socket.socket) -> None:
        channel = contexts.channel(dialled=True)
        channel.begin()
        while not channel.established:
            sock.sendall(channel.take())
            data = sock.recv(65_536)
            if not data:
                return
            channel.receive(data)
        sock.sendall(channel.take())
        while sock.recv(65_536):
            pass

    _again_and_again(shake, server)


def _again_and_again(attempt: Callable[[socket.socket], None], server: str) -> None:
    def run() -> None:
        while not _over.is_set():
            with contextlib.suppress(OSError, SSL.Error, lrep.ReplicationError):
                with socket.create_connection(_address(server), 5) as sock:
                    attempt(sock)
                _attempts[0] += 1

    threading.Thread(target=run, daemon=True).start()


def end_attack(_context: Context) -> int:
    """End the attack, and return the number of its connections."""
    _over.set()
    for sock in _open:
        sock.close()
    return _attempts[0]
