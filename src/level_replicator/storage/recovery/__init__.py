"""Opening a replication set: recovery after kills and power losses, and new origins."""
