"""Simulator: runs any number of nodes in one thread, on a virtual clock, network and disks, from a seed.

Store, session, peer connection and coordinator are those of the product; only sockets, timers and LevelDBs are
replaced.

    world.py      virtual clock, and the run of one seed: faults, then healing, then checks
    node.py       one node: its disks, its coordinator, its dialers, its process, which may be killed
    network.py    connections with delays, cuts, and chunks of any size
    reader.py     programs that follow the changes feed
    truth.py      all acknowledged writes, and the promises that follow from them
    meetings.py   conflicts that nodes must report
    checks.py     invariants, during faults and after them
    budget.py     limits of frames and events, which a livelock exceeds
    plan.py       number of nodes, connections, clocks and faults of a seed
    aimed.py      schedules for rules that random ones exercise too rarely
    mutants.py    rules switched off, each of which the checks must notice
    model/        reference model of the rules, and schedules that compare it with the product
    __main__.py   python -m tests.simulation --seeds 100000 [--mutant NAME], or --seed N
"""
