"""Measurements, each beside its peers in the same process: `python tools/bench`.

`bench_engine.py` measures the engine, `bench_log.py` the log, `bench_memory.py` memory management;
`peers/` are the same systems in other engines, and in C.
"""
