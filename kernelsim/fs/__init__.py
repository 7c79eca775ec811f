"""What a file is before any of it is cached: its size, its place on a device, what that holds.

To read in this order: `inode.py` (a file), `filesystem.py` (the files of a device), `namespace.py`
(all files of a machine, by path), `file.py` (an open file); `fs_writeback.py` (which dirty file is
written next), `page_write.py` (pages on their way), `errseq.py` (errors that are told once).
Nothing here waits or knows the page cache; a file's number is that of its address space
(mm/file/address_space.py), too.
"""
