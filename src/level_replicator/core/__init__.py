"""Data types and rules of replication, without files, sockets, clocks, randomness or threads. Time is an argument."""
