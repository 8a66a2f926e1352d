"""What is done to a replication set in the background, and on request."""
