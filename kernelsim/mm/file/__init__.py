"""The page cache: pages of files that are in memory, what is read ahead, and what is dirty.

To read in this order: `address_space.py` (what is known of a file's pages), `filemap.py` (adding,
finding and removing them), `filemap_read.py` (a run of a read), `readahead.py` (what to read with
it), `filemap_fault.py` (how pages enter page tables), `truncate.py` (dropping pages on request),
`shadow_nodes.py` (forgetting evicted pages), `boot_cache.py` (what a recorded machine had cached).

Then dirty pages: `dirty_limits.py` (how many there may be), `flex_proportions.py` and
`backing_dev.py` (whose they are), `dirty_rate.py` (how fast they may come), `page_writeback.py`
(whether a writer waits now), `classic_writeback.py` (the same before 2.6.32); `filemap_write.py`
and `dirty_pages.py` (how a page becomes dirty, is on its way, is written).
"""
