"""Building blocks for I/O: the Unix socket, backoff, and blocking calls on threads."""
