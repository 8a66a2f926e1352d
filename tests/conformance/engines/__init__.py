"""The suite that every engine must pass, and what is true of one engine only."""
