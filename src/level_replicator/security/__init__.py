"""TLS, key files, rules of trust, and the identity of peers."""
