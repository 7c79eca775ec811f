"""Bursts: what the CPUs of a machine do in compiled code until somebody else can notice.

A program that touches memory page by page would cost several messages a page. Here the accesses
and the simple faults of all CPUs run in one compiled loop, event by event in the order of virtual
time, up to the next event of anybody outside. What it leaves is what the actors would have left:
the same pages, counters and times, wait for wait. It stops for everything that needs more than a
page list, a lock and the memory controller: slots to read, watermarks, a time slice.

To read in this order: `columns.py` (what a CPU is doing), `events.py` (what is due first),
`servers.py` (locks and controllers), `bands.py` (watermarks crossed), `faults.py` with `pages.py`
and `batch.py` (the steps of a fault), `run.py` (the loop), `watch.py` (the same for a checker).

Kernel code that takes locks every few pages goes on likewise, one task at a time and only while
nobody at all can notice: `lock_run.py`, then `grant.py` (pages at hand), `cache_pages.py` (new
pages of files), `swap_pages.py` (pages for a window of swap), `file_read.py` (pages activated by
reads), `free_pages.py`, `migrate_pages.py` (pages that leave a memory block); and a batch of
reclaim, in `mm/reclaim/reclaim_run.py`.
"""
