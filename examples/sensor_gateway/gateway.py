"""The device: stores each measurement immediately, and sends it to the centre when there is a network.

python gateway.py DIR CENTRE:PORT < measurements      one a line: SENSOR VALUE
"""

import sys
import time

import level_replicator as lrep


def main(directory: str, centre: str) -> None:
    config = {
        "servers": {centre: {"name": "centre"}},  # no port: a device behind NAT only dials
        "log_max_bytes": 16 * 1024 * 1024,  # the flash is small; beyond this the nodes reconcile
        "sync": True,  # the power may fail at any time
    }
    with lrep.open(directory, config) as replica:
        print("ready", flush=True)
        for line in sys.stdin:
            sensor, value = line.split()
            # keys are sorted by sensor, then by time; each sensor belongs to one device, so nothing conflicts
            key = f"{sensor}/{time.time_ns() // 1_000_000:015d}"
            replica.put(key.encode(), value.encode())
            print(f"stored {key}", flush=True)
        if replica.wait_synced(5) and replica.status()["peers"][0]["behind"] == 0:
            print("the centre has everything", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
