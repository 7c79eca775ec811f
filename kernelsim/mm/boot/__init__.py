"""What a machine looks like when it has booted, before the first process runs.

`mm_init.py` builds it; `boot_pages.py` places what was in use, `boot_stats.py` the counters of a
recorded machine, `memory_block.py` its hotpluggable blocks; `boot_watermark.py` and `explain.py`
explain recorded watermarks.
"""
