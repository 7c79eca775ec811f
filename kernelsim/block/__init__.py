"""The block layer, as plain functions and accounts: the disk itself is an actor.

`blk_wbt.py` limits buffered writes to a depth that `rq_depth.py` judges.
"""
