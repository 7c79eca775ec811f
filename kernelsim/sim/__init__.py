"""The engine: virtual time, actors, channels, locks, random streams.

Knows no memory. The only folder that may use trio's low level. One task runs at a time, and the
order of simultaneous events follows from the seeds alone, so a run repeats byte for byte.

To read in this order: `engine.py` what others use, `actor.py` who asks whom, `clock.py` how time
goes on, with `event.py` what is due and `wait.py` who waits; then `gather.py`, `channel.py`,
`locks.py`, `scope.py`, `rng.py`; and how runs end: `ending.py`, `signals.py`, `reports.py`,
`watch.py`.
"""
