"""The page allocator: from a free block of the buddy system to a page in a CPU's list.

To read in this order: `free_area.py`, `page_alloc.py`, `fallback.py`, `pcp.py`; then where to look
(`gfp.py`, `zonelist.py`, `mempolicy.py`) and how far down (`watermark.py`).
"""
