"""What lives in user space, as plain functions and values: no waiting, no trio.

cache/  replacement policies that are compared on traces of accesses
"""
