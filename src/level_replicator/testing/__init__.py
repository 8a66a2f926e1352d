"""Nodes as processes and relays between them: for the demo, the tests and the benchmarks. Not a public interface.

program        in the child: a program that handles requests from stdin
process        in the parent: runs such a program
node_program   in the child: the program of a node
node_process   in the parent: runs a node, and starts it again after its end
relay          a TCP relay that can be cut and delayed
network        nodes linked by relays
"""
