"""Tracepoints and counters by Linux's names, as typed values by topic.

Knows no sink: the code that writes events down is in `report`. Names without a Linux original begin
with `ks_`. Imports nothing of `sim`.
"""
