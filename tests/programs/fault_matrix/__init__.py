"""
What happens on every fault, in every operation: run for real, compared with what is expected, and printed for users.

``python -m tests.programs.fault_matrix`` runs everything and writes ``docs/reliability.md``.
"""
