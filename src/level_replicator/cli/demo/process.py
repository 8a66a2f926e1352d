"""The parent's end of one node of the demo: start it, give it work, kill it, start it again.

The two processes exchange one JSON object a line, with bytes as Base64. The exceptions say how the demo ends if it
does not end well.
"""

import collections
import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec


class InputError(Exception):
    """What the user asked for cannot be done: exit status 2. The text is one line."""


class DemoFailure(Exception):
    """The masters did not do what they promise: exit status 1. The text says what, in one line or more."""


Operation = tuple[bytes, bytes | None]
"""A key and its value, None to delete it."""


class Apply(msgspec.Struct, tag="apply"):
    """Write these, in order; with `atomic` as one batch. Answered by Applied with the same number."""

    number: int
    operations: list[Operation]
    atomic: bool


class Stop(msgspec.Struct, tag="stop"):
    """Close the replica and end."""


class Applied(msgspec.Struct, tag="applied"):
    """Every operation of that number is acknowledged by the replica."""

    number: int


class PeerStatus(msgspec.Struct):
    """What of `status()["peers"]` the demo looks at."""

    address: str
    origin: str | None
    state: str
    last_error: str | None
    behind: int | None
    bytes_in: int
    entries_in: int


class Status(msgspec.Struct, tag="status"):
    """What of `status()` the demo looks at. The first one says that the master is ready."""

    origin: str
    keys: int
    vector: dict[str, int]
    peers: list[PeerStatus]


class Failed(msgspec.Struct, tag="failed"):
    """The master ends, because of this."""

    text: str


Command = Apply | Stop
Report = Applied | Status | Failed


START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 1.0
LOG_LINES_SHOWN = 15


class MasterGone(Exception):
    """The process ended before it answered."""


class Master:
    """One node over all its incarnations. One thread at a time gives it work; the rest is for any thread."""

    def __init__(self, name: str, directory: Path, port: int, servers: list[str]) -> None:
        self.name = name
        self.directory = directory
        self.state = "not started"
        self.status: Status | None = None
        """The last report; of the incarnation before until this one has reported."""
        self.incarnation = 0
        self.port = port
        self._servers = servers
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()
        self._alive = False
        self._ready = False
        self._applied = 0
        self._number = 0
        self._failure: str | None = None
        self._past_entries = 0
        self._past_bytes = 0

    @property
    def database(self) -> Path:
        """The LevelDB that the user of a replica would see."""
        return self.directory / "db"

    @property
    def received(self) -> tuple[int, int]:
        """Entries and bytes that came from peers, over all incarnations."""
        peers = self.status.peers if self.status is not None else []
        return (
            self._past_entries + sum(peer.entries_in for peer in peers),
            self._past_bytes + sum(peer.bytes_in for peer in peers),
        )

    def start(self) -> None:
        """Starts the process and waits until it is ready. Raises DemoFailure."""
        self._begin_incarnation()
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "master.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"{__package__}.master",
                    str(self.directory),
                    str(self.port),
                    *self._servers,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for the demo, which then ends its masters itself.
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=f"{self.name} reader")
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._alive, START_TIMEOUT_S)
            if not self._ready:
                raise DemoFailure(f"{self.name} did not start: {self._why()}")
            self.state = "running"

    def send(self, operations: list[Operation], *, atomic: bool) -> None:
        """Gives the master work, without waiting. Raises MasterGone."""
        self._number += 1
        self._tell(Apply(self._number, operations, atomic))

    def await_answer(self) -> None:
        """Waits until all work that was sent is acknowledged. Raises MasterGone, DemoFailure."""
        with self._changed:
            number = self._number
            answered = self._changed.wait_for(lambda: self._applied >= number or not self._alive, ANSWER_TIMEOUT_S)
            if self._applied >= number:
                return
        if answered:
            raise MasterGone(f"{self.name} ended: {self._why()}")
        raise DemoFailure(f"{self.name} did not answer for {ANSWER_TIMEOUT_S:.0f} s")

    def kill(self) -> None:
        """SIGKILL, and waits until the process is no more. Idempotent."""
        self.state = "killed"
        self._end(kill=True)

    def stop(self) -> None:
        """Lets the replica close and waits for it. Raises DemoFailure when it does not, or not well."""
        with contextlib.suppress(MasterGone):
            self._tell(Stop())
        process = self._process
        assert process is not None
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DemoFailure(f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s") from None
        self._end(kill=False)
        self.state = "stopped"
        if status != 0:
            raise DemoFailure(f"{self.name} ended with status {status}: {self._why()}")

    def _begin_incarnation(self) -> None:
        with self._changed:
            self._alive = True
            self._ready = False
            self._failure = None
            self.incarnation += 1
            self.state = "starting"

    def _tell(self, command: Command) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(command) + b"\n")
            process.stdin.flush()
        except (OSError, ValueError) as error:
            raise MasterGone(f"{self.name} ended: {self._why()}") from error

    def _end(self, *, kill: bool) -> None:
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        if kill:
            process.kill()
        process.wait()
        reader.join()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._process = self._reader = None

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                report = msgspec.json.decode(line, type=Report)
            except msgspec.MsgspecError:
                continue  # half a line: it was killed while writing it
            with self._changed:
                match report:
                    case Applied(number):
                        self._applied = number
                    case Status():
                        self._take(report)
                    case Failed(text):
                        self._failure = text
                self._changed.notify_all()
        with self._changed:
            self._alive = False
            self._changed.notify_all()

    def _take(self, status: Status) -> None:
        if not self._ready:
            # A new incarnation counts from zero.
            self._past_entries, self._past_bytes = self.received
            self._ready = True
        self.status = status

    def _why(self) -> str:
        if self._failure is not None:
            return self._failure
        with contextlib.suppress(OSError), (self.directory / "master.log").open(errors="replace") as log:
            lines = collections.deque(log, LOG_LINES_SHOWN)
            if lines:
                return "it said\n" + "".join(f"    {line.rstrip()}\n" for line in lines).rstrip()
        process = self._process
        if process is not None:
            # Its pipe may be closed a moment before its status can be had.
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(STATUS_TIMEOUT_S)
                return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return "it gave no reason"
