"""The page cache: pages of files that are in memory, and what is read ahead of a reader.

To read in this order: `address_space.py` (what is known of a file's pages), `filemap.py` (adding,
finding and removing them), `filemap_read.py` (a run of a read), `readahead.py` (what to read with
it), `truncate.py` (dropping pages on request), `shadow_nodes.py` (forgetting evicted pages),
`boot_cache.py` (what a recorded machine had cached).
"""
