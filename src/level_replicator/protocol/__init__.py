"""The protocol between nodes and with clients: messages, frames and sessions. No I/O."""
