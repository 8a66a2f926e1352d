"""A thread that writes to one node: its share of the data, and edits and deletes of keys that all nodes edit."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from level_replicator.cli.demo.checks import Ledger
from level_replicator.cli.demo.data_sets import DataSet
from level_replicator.cli.demo.node import DemoNode
from level_replicator.testing.node_program import Operation

STEP_ENTRIES = 16
LEAST_STEPS = 20
ENTRIES_FOR_AN_EDIT = 4
DELETES_IN_EDITS = 0.3
EDIT_REPEATS = 8


@dataclass
class Tally:
    """Counts of what a node has acknowledged."""

    entries: int = 0
    edits: int = 0
    deletes: int = 0
    written_bytes: int = 0

    @property
    def writes(self) -> int:
        return self.entries + self.edits + self.deletes


class Feeder(threading.Thread):
    """Writes until the share is written. `failure` is the exception that ended it early, if one did.

    `incidents`: progress (0 to 1) → a function that is called once at that progress, on this thread, right after a
    batch was sent, while the node is writing it. A function that kills the node also starts it again; then the batch is
    sent once more."""

    def __init__(
        self,
        node: DemoNode,
        data: DataSet,
        share: Sequence[int],
        contested: Sequence[bytes],
        random: Random,
        ledger: Ledger,
        incidents: Mapping[float, Callable[[], None]],
    ) -> None:
        super().__init__(name=f"{node.name} feeder")
        self.node = node
        self.tally = Tally()
        self.failure: BaseException | None = None
        self._data = data
        self._share = share
        self._contested = contested
        self._random = random
        self._ledger = ledger
        self._incidents = dict(incidents)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End after the current batch."""
        self._cancelled.set()

    def run(self) -> None:
        try:
            self._feed()
        except BaseException as error:
            self.failure = error

    def _feed(self) -> None:
        done = 0
        for numbers in self._steps():
            if self._cancelled.is_set():
                return
            batch: list[Operation] = [(self._data.keys[number], self._data.value(number)) for number in numbers]
            done += len(batch)
            self._write(batch, atomic=True, progress=done / len(self._share))
            self.tally.entries += len(batch)
            edits = self._edits(max(1, len(batch) // ENTRIES_FOR_AN_EDIT))
            self._write(edits, atomic=False, progress=0.0)
            self.tally.deletes += sum(value is None for _, value in edits)
            self.tally.edits += sum(value is not None for _, value in edits)

    def _steps(self) -> Iterator[Sequence[int]]:
        # small shares are split into more steps, so that an incident can still happen in the middle of them
        size = max(1, min(STEP_ENTRIES, len(self._share) // LEAST_STEPS))
        for begin in range(0, len(self._share), size):
            yield self._share[begin : begin + size]

    def _edits(self, count: int) -> list[Operation]:
        return [(self._random.choice(self._contested), self._edit()) for _ in range(count)]

    def _edit(self) -> bytes | None:
        if self._random.random() < DELETES_IN_EDITS:
            return None
        text = f"{self.node.name} was here, {self._random.getrandbits(64):016x}\n"
        return text.encode() * self._random.randint(1, EDIT_REPEATS)

    def _write(self, operations: list[Operation], *, atomic: bool, progress: float) -> None:
        self._ledger.note(operations)
        due = sorted(share for share in self._incidents if share <= progress)
        self.node.send(operations, atomic=atomic)
        for share in due:
            runs = self.node.runs
            self._incidents.pop(share)()
            if self.node.runs != runs:
                self.node.send(operations, atomic=atomic)
        self.node.await_answers()
        self.tally.written_bytes += sum(len(key) + len(value or b"") for key, value in operations)
