"""The writes of this node, and those that come from peers."""
