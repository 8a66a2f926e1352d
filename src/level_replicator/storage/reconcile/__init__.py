"""Range-based set reconciliation of the indexes of two nodes."""
