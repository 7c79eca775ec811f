"""Invariants of a running machine, read-only and written apart from what they check.

A checker raises `InvariantViolation` with what it saw; it never repairs and never shares code
with the part it checks.
"""
