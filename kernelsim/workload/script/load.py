"""Loads whatever a user may call a workload, by its content.

Interface: `load_any`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from kernelsim.config.machine import MachineSpec
from kernelsim.units import MIB, PAGE_SIZE
from kernelsim.workload.allocation_run import allocations_machine, allocations_workload
from kernelsim.workload.api import Main, Workload, load_workload
from kernelsim.workload.call_lines import files_of
from kernelsim.workload.call_recording import calls_workload
from kernelsim.workload.fault_recording import faults_workload, nr_fault_pages
from kernelsim.workload.masim import masim_workload, read_masim
from kernelsim.workload.oom_report import oom_workload
from kernelsim.workload.replay import machine_for, recording_machine, recording_workload
from kernelsim.workload.script.kinds import kind_of
from kernelsim.workload.script.run import script_workload

CALLS_BYTES: Final = 64 * MIB  # a recording of calls does not tell what was in memory


def load_any(path: Path, machine: MachineSpec | str | None) -> Workload:
    """Load a Python file, a portable script, a recording or an OOM report, by its content.

    Args:
        path: Of the file.
        machine: What the user says of the machine; a recording without gets one that fits it.

    Raises:
        WorkloadError: It is none of these, or is wrong.
        RecordingError: A recording is malformed.
    """
    kind = kind_of(path)
    if kind == "python":
        return load_workload(path)
    if kind == "script":
        return script_workload(path)
    if kind == "oom":
        return oom_workload(path)
    if kind == "faults":
        wanted = nr_fault_pages(path) * PAGE_SIZE
        return recorded(faults_workload(path), machine, lambda: machine_for(wanted))
    if kind == "strace":
        return recorded(
            calls_workload(path), machine, lambda: machine_for(CALLS_BYTES, files_of(path))
        )
    if kind == "masim":
        sizes = read_masim(path).regions.values()
        wanted = sum(-(-size // PAGE_SIZE) * PAGE_SIZE for size in sizes)
        return recorded(masim_workload(path), machine, lambda: machine_for(wanted))
    if kind == "allocations":
        return recorded(allocations_workload(path), machine, lambda: allocations_machine(path))
    return recorded(recording_workload(path), machine, lambda: recording_machine(path))


def recorded(
    main: Main, machine: MachineSpec | str | None, fitting: Callable[[], MachineSpec]
) -> Workload:
    """Return a recording's workload; without a machine of the user's, on one that fits it."""
    return Workload(main, "machine", machine=fitting() if machine is None else None)
