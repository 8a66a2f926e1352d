"""Sockets, addresses, retries and calls in other threads."""
