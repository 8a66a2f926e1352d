"""What a program uses: install, the plyvel-shaped database, config, events."""
