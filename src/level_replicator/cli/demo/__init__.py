"""Three nodes on real data, a kill and a cut link, and the proof that the nodes end equal.

`command` is the entry of the command line, `scenario` the sequence of events, `data_sets` the data.
"""
