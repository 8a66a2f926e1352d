"""The rules, pure: no files, sockets, clocks, randomness or threads. Time is an argument."""
