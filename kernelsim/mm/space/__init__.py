"""Address spaces: what a process may touch, and what is there when it does.

To read in this order: `vm_flags.py`, `mmap.py` (areas), `mm_struct.py` (an address space),
`mm_registry.py` (all of them), `address_layout.py` and `exec.py` (what one starts with),
`util.py` (what may be promised); `pgtable.py`, `memory.py` (faults and accesses), `rmap.py`,
`i_mmap.py` (from a file to its mappings) and `rmap_file.py`, `wp_page.py`, `zap.py`.
"""
