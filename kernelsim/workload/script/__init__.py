"""Portable scripts: lines that also run on a real Linux.

`script.py` and `script_steps.py` read them, `run.py` runs one on a machine, `process.py` the steps
of one of its processes, `script_output.py` prints in the words of the recordings. `kinds.py` tells
scripts, Python workloads and recordings apart.
"""
