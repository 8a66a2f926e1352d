"""Real replicas, real sockets, real LevelDBs; in processes of their own where they are killed for real."""
