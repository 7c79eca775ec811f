"""Measurements, each beside its peers in the same process: `python tools/bench`.

`bench_engine.py` measures the engine, `bench_log.py` the log, `peers/` are the same systems in
other engines.
"""
