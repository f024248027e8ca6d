"""
Compare this provider with other ways to do the same work, side by side in one run, as a table of ratios.

The ways of a row alternate, round by round, in one process that has everything imported, so that what else the
machine does strikes them alike. A server written in C serves them, in a process of its own.
"""
