"""
What a create request costs when a try of its task ends early: run, compared with what is expected, and printed.

``python -m tests.programs.create_table`` runs everything and writes its section of ``docs/reliability.md``.
"""
