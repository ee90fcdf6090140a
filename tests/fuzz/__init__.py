"""Damaged input for every driver there is, made of its captures: ``make fuzz``, or ``python -m tests.fuzz --help``."""
