"""The page allocator: from a free block of the buddy system to a page in a CPU's list.

To read in this order: `free_area.py`, `page_alloc.py`, `fallback.py`, `pcp.py`; then where to look
(`gfp.py`, `zonelist.py`, `mempolicy.py`, put together in `alloc_context.py`) and how far down
(`watermark.py`; `zone_marks.py` puts that into force, at boot and when a tunable is written).
`phys_mem.py` is what a machine's memory is like now: its nodes, their zonelists, its blocks.
"""
