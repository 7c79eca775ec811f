"""What a run leaves behind, and how two of them compare. Rank 11.

Sinks for events and counters, tables and files; reads results, decides nothing in a run.
"""
