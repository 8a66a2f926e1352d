"""One node on an event loop: listening, dialing, admission and sessions of clients."""
