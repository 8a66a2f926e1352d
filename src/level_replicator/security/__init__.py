"""TLS, trust and the identity of peers."""
