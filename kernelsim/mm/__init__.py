"""What the kernel decides, file by file as in Linux's mm/: plain functions, no waiting. Rank 4.

Start with `mem.py` (all of physical memory in one NamedTuple of arrays), `list.py` (lists of
pages) and `vmstat.py` (counters). A function that mirrors one of Linux names it in the last line
of its docstring; what is simplified is marked `# Differs from Linux:` and listed by
`kernelsim differences`. Costs in time are returned, never slept: the actors wait.
# Differs from Linux: there is no page cache yet. The only file pages are those that a recorded
# machine had at boot, and they stay.
"""
