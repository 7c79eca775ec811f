"""What the hardware does, as plain functions over arrays: no waiting, no trio.

`leaf.py` is the decorator that compiles loops over pages; start there.
"""
