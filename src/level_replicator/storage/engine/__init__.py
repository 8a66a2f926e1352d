"""The ordered key-value store below: LevelDB by plyvel, its directory, and one in memory."""
