"""Address spaces: what a process may touch, and what is there when it does.

To read in this order: `vm_flags.py`, `mmap.py` (an area), `anon_vma.py` and `vma_map.py` (which
become one), `unmapped_area.py` (where they go), `mm_struct.py` (an address space), `brk.py`,
`mprotect.py`, `mremap.py`, `madvise.py`, `mlock.py` (what calls do to it), `fork.py`,
`mm_registry.py` (all of them), `address_layout.py` and `exec.py` (what one starts with),
`util.py` (what may be promised); `pgtable.py`, `memory.py` (faults and accesses), `rmap.py`,
`i_mmap.py` (from a file to its mappings) and `rmap_file.py`, `wp_page.py`, `zap.py`.
"""
