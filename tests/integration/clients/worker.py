"""One of several processes that share a database: writes until its standard input ends, and tells what it wrote.

`python -m tests.integration.clients.worker FOLDER NAME`. Lines out: "holder" or "client" at the start and when that
changes, then each serial when its write has been acknowledged."""

import sys
import threading

import level_replicator as lrep


def main(folder: str, name: str) -> None:
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    with lrep.open(folder, {"port": None}, share=True) as database:
        serial = 0
        role = ""
        while not done.is_set():
            key = f"{name} {serial}".encode()
            database.put(key, key)
            if database.get(key) != key:
                print("LOST", key, flush=True)
            now = "holder" if database.holder else "client"
            print(*([now] if now != role else []), serial, sep="\n", flush=True)
            role = now
            serial += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
