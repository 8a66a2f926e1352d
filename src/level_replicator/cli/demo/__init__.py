"""Three masters on real data, a kill and a cut link, and the proof that they come out the same.

`command` is what the command line calls; `story` is what happens; `data_sets` is what it happens to.
"""
