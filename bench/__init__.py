"""Benchmarks: the cost of replication beside that of the bare LevelDB. `python -m bench --help`."""
