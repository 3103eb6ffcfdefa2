"""Counted work: the instructions and memory traffic of one call, counted by simulation.

Not joules, and never called so. The same code counts the same on any machine and beside any
neighbour, so counts of different days and machines can be compared.
"""
