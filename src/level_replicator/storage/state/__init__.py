"""What a replication set contains, on the disk and mirrored in memory."""
