"""Replication between connected nodes: who is sent what, and when."""
