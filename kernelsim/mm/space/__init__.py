"""Address spaces: what a process may touch, and what is there when it does.

To read in this order: `vm_flags.py`, `mmap.py` (areas), `mm_struct.py` (an address space),
`address_layout.py` and `exec.py` (what it starts with), `util.py` (what may be promised);
`pgtable.py`, `memory.py` (faults and accesses), `rmap.py`, `wp_page.py`.
"""
