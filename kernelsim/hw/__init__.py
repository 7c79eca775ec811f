"""What the hardware does, as plain functions over arrays: no waiting, no trio. Rank 3.

`leaf.py` is the decorator that compiles loops over pages; start there.
"""
