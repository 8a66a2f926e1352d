"""plyvel's interface: database, batches, iterators and snapshots, shared by replica and client."""
