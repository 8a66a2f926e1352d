"""Sessions, sockets and the store brought together: an event loop in a thread of its own for each replica."""
