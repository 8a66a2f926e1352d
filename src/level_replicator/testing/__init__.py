"""Nodes as processes and relays between them: for the demo, the tests and the benchmarks. Not a public interface.

program        the child's end: a program that obeys requests on stdin
process        the parent's end of any such program
node_program   the program of a node
node_process   the parent's end of a node, over all its runs
relay          a TCP relay that can be cut, delayed and counted
network        nodes that are linked by relays
"""
