"""What a workload author writes: Python functions, portable scripts, recordings.

`machine.py` and `handle.py` are all that a workload sees of a machine and of a process; neither
shows what lies below. A mistake in a workload is a `WorkloadError` in one line, found when it is
loaded where possible.
"""

from kernelsim.units import GIB, KIB, MIB
from kernelsim.workload.api import simulation, workload
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.heap import Heap
from kernelsim.workload.machine import MachineHandle

__all__ = ["GIB", "KIB", "MIB", "Heap", "MachineHandle", "ProcessHandle", "simulation", "workload"]
