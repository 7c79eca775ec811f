"""What a workload author writes: Python functions, portable scripts, recordings.

A mistake in a workload is a `WorkloadError` in one line, found when it is loaded where possible.
"""

from kernelsim.units import GIB, KIB, MIB
from kernelsim.workload.api import simulation, workload

__all__ = ["GIB", "KIB", "MIB", "simulation", "workload"]
