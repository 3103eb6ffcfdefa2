"""Counted work: the instructions and memory traffic of one call, counted by simulation.

These are not joules. Equal code gives equal counts on any machine, however busy it is, so counts of
different days and machines can be compared.
"""
