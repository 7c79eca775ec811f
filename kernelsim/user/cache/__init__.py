"""Replacement policies behind one door, and the traces they are compared on.

`policy.py` is the door, `CachePolicy`: an access is a hit or not. A policy is a file of its own:
`lru.py`, `clock.py`, `two_lists.py` (Linux), `innodb.py` (MySQL), `s3_fifo.py`; `policies.py` names
them. `requests.py` says what a trace is; `made_traces.py` makes some, `block_trace.py` reads those
that others recorded. `hit_rates.py` runs a trace through caches.

A policy is no page cache: nothing is dirty, mapped, written or waited for. That one belongs to the
kernel, its pages to the nodes.
"""
