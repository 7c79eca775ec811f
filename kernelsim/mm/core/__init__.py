"""The arrays every other room of mm works on: pages, lists, counters, LRU lists.

To read in this order: `mem.py`, `list.py`, `vmstat.py`, `lruvec.py`, `swap.py` (the LRU lists, as
in Linux's mm/swap.c), `workingset.py` (what a refault tells). `tunables.py` holds the sysctls in
force, `page_kinds.py` tells what ranges of frames hold.
"""
