"""The scheduler's decisions: which task runs next, and which one preempts which.

A room of its own, since Linux's kernel/sched is no part of mm; the CPU actor asks it.
"""
