"""What replication costs, measured beside what it is built on. `python -m bench --help`."""
