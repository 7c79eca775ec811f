"""What a run leaves behind, and how two of them compare.

Sinks for events and counters, tables and files; reads results, decides nothing in a run.
result.py is the Python interface: a run as columns.
"""
