"""The command line: `level-replicator`, or `lrep` for short."""
