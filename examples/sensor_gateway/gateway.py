"""On the device: measurements are written at once, whether or not there is a network, and travel when there is one.

python gateway.py DIR CENTRE:PORT < measurements      a line each: SENSOR VALUE
"""

import sys
import time

import level_replicator as lrep


def main(directory: str, centre: str) -> None:
    config = {
        "servers": {centre: {"name": "centre"}},  # no port: a device behind NAT only dials
        "log_max_bytes": 16 * 1024 * 1024,  # the flash is small; what does not fit any more is compared instead of sent
        "sync": True,  # power may go at any time
    }
    with lrep.open(directory, config) as replica:
        print("ready", flush=True)
        for line in sys.stdin:
            sensor, value = line.split()
            # keys of one sensor lie beside each other, by time; no two devices share a sensor, so nothing conflicts
            key = f"{sensor}/{time.time_ns() // 1_000_000:015d}"
            replica.put(key.encode(), value.encode())
            print(f"stored {key}", flush=True)
        if replica.wait_synced(5) and replica.status()["peers"][0]["behind"] == 0:
            print("the centre has everything", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
