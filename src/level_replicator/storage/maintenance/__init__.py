"""Maintenance of a replication set, in the background and on request: retention, floors, left-overs, audit, backup."""
