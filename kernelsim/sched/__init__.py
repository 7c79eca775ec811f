"""The scheduler's decisions: who runs next, and who takes the CPU from whom.

A room of its own, since Linux's kernel/sched is no part of mm; the CPU actor asks it.
"""
