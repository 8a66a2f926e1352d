"""Reading the log: what peers are sent, the changes feed, and the log as people see it."""
