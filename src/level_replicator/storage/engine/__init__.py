"""The ordered key-value store below: LevelDB by plyvel and its directory."""
