"""Run as a program: threads use a database in every way while another closes it. Bare plyvel crashes here.

Exit status 0 when each thread, in each round, ended with ClosedError. Arguments: rounds, directory.
"""

import itertools
import sys
import threading
from collections.abc import Callable

from level_replicator import plyvel
from level_replicator.core.errors import ClosedError
from level_replicator.database.database import Database
from tests.unit.database.writers import StraightWriter

STEPS_BEFORE_CLOSE = 300


def uses_of(db: Database) -> list[Callable[[], object]]:
    def walk() -> None:
        for _ in db.iterator(reverse=True):
            pass

    def walk_raw() -> None:
        with db.raw_iterator() as iterator:
            iterator.seek_to_first()
            while iterator.valid():
                iterator.item()
                iterator.next()

    def look_back() -> None:
        with db.snapshot() as snapshot:
            snapshot.get(b"8")
            next(iter(snapshot))

    def drop() -> None:  # never closed: deleting them is what races
        db.snapshot()
        db.iterator()
        db.prefixed_db(b"1").snapshot()

    def write_batch() -> None:
        with db.write_batch() as batch:
            batch.put(b"9", b"y")
            batch.delete(b"10")

    shared = db.snapshot()
    return [
        lambda: db.get(b"7"),
        lambda: db.put(b"7", b"y"),
        lambda: shared.get(b"7"),
        walk,
        walk_raw,
        look_back,
        drop,
        write_batch,
    ]


def hammer(use: Callable[[], object], busy: threading.Barrier, ended: list[bool]) -> None:
    try:
        for step in itertools.count():
            if step == 3:
                busy.wait()
            use()
    except ClosedError:
        ended.append(True)


def play_round(directory: str, number: int) -> None:
    raw = plyvel.DB(directory, create_if_missing=True)
    db = Database(raw, StraightWriter(raw), sync_default=False)
    for key in range(200):
        db.put(b"%d" % key, b"x" * 100)
    uses = uses_of(db)
    busy = threading.Barrier(len(uses) + 1)
    ended: list[bool] = []
    threads = [threading.Thread(target=hammer, args=(use, busy, ended)) for use in uses]
    for thread in threads:
        thread.start()
    busy.wait()
    for _ in range(number * 7 % STEPS_BEFORE_CLOSE):  # close at another moment in each round
        db.get(b"1")
    closers = [threading.Thread(target=db.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    for thread in (*closers, *threads):
        thread.join()
    assert raw.closed
    assert len(ended) == len(uses), f"{len(ended)} of {len(uses)} threads ended with ClosedError"


if __name__ == "__main__":
    sys.setswitchinterval(0.000_1)
    for number in range(int(sys.argv[1])):
        play_round(sys.argv[2], number)
