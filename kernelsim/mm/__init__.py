"""What the kernel decides, file by file as in Linux's mm/: plain functions, no waiting.

Costs in time are returned, never slept: the actors wait. A function that mirrors one of Linux names
it in the last line of its docstring; what is simplified is marked `# Differs from Linux:` and
listed by `kernelsim differences`. The rooms, each importing only from those before it:

    core/     all of physical memory as arrays, lists of pages, counters, LRU lists, refaults
    page/     the page allocator: buddy system, per-cpu lists, zonelists, watermarks, policies
    boot/     what a machine looks like when it has booted
    space/    address spaces: VMAs, page tables, faults, reverse map, overcommit
    swap/     swap areas, the swap cache, readahead
    file/     the page cache, readahead, dropping pages
    burst/    what all CPUs do in one compiled loop until somebody else can notice
    reclaim/  what to scan, what to evict, whom to kill

Start with `core/mem.py` (physical memory in one NamedTuple of arrays), `core/list.py` and
`core/vmstat.py`.
# Differs from Linux: Files are read, not mapped: there are no file pages in page tables yet.
"""
