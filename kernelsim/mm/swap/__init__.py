"""Swap: slots on a device, the cache in front of them, and what to read ahead.

To read in this order: `swap_area.py` (what a slot is), `swapfile.py` (which one a page gets),
`swap_state.py` (the cache), `do_swap_page.py` (a fault on a slot), `swap_readahead.py` (what is
read with it), `swap_plug.py` (what is written with it), `page_io.py` (when a disk is done),
`free_swap.py` (letting go).
"""
