"""A simulator: any number of nodes in one thread, on a virtual clock, network and disk, from a seed.

What runs is the product's own store, session, peer connection and coordinator; only sockets, timers and LevelDBs are
replaced.

    world.py      the virtual clock, and the run of one seed: faults, then healing, then checks
    node.py       one node: its disks, its coordinator, its diallers, its process that may be killed
    network.py    connections with delay, cuts, and chunks of any size
    truth.py      what was written and acknowledged, and what must therefore hold
    checks.py     the invariants, during faults and after them
    plan.py       from a seed: how many nodes, which links, clocks and faults
    mutants.py    rules switched off, each of which the checks must notice
    __main__.py   python -m tests.simulation --seeds 100000 [--mutant NAME], or --seed N
"""
