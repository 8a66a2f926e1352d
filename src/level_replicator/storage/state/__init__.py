"""The contents of a replication set: records on the disk, and their mirror in memory."""
