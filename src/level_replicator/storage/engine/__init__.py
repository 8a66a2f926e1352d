"""The ordered key-value store: its interface, LevelDB opened with plyvel, and the claim on its directory."""
