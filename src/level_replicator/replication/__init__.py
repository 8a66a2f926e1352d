"""Replication between connected nodes: peer connections, pulls, and forwarding."""
