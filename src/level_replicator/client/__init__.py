"""The database of a node, used from another process."""
