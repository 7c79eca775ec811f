"""What the hardware does, as plain functions over arrays: no waiting, no trio.

`leaf.py` is the decorator that compiles loops over pages; start there. `leaf_types.py` reads for
which types from the annotations, `leaf_cache.py` keeps the result, `compile.py` makes it ahead.
"""
