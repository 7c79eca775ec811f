"""Memory allocators of C libraries, each behind one door, and what each asks of the kernel.

`protocol.py` is the door on both sides: `Malloc` is what a program calls, `System` what an
allocator may ask of the kernel. `mallocs.py` names the allocators. Each is the file of its name;
what does not fit there is beside it, by idea: `tcmalloc_page_heap.py` and so on.

An allocator keeps what it knows of its blocks in tables of its own, at the addresses where the real
one keeps it in memory: each store to such an address goes through `System.write`, so that pages
fault when the real ones would. It is the one part of user space that waits, and only for that door.
"""
