"""What lives in user space, as plain functions and values: no trio, no engine.

cache/   replacement policies that are compared on traces of accesses
malloc/  memory allocators; they wait, but only for the door to the kernel that they declare
"""
