"""The replica on two LevelDBs: local write, remote apply, recovery. No sockets, no event loop."""
