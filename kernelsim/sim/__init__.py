"""The engine: virtual time, actors, channels, locks, random streams. Rank 2.

Knows no memory. The only folder that may use trio's low level. One task runs at a time, and the
order of simultaneous events follows from the seeds alone, so a run repeats byte for byte.
"""
