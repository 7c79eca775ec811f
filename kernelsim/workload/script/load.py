"""Loads whatever a user may call a workload, by its content.

Interface: `load_any`.
"""

from pathlib import Path

from kernelsim.config.machine import MachineSpec
from kernelsim.workload.api import Workload, load_workload
from kernelsim.workload.oom_report import oom_workload
from kernelsim.workload.replay import recording_machine, recording_workload
from kernelsim.workload.script.kinds import kind_of
from kernelsim.workload.script.run import script_workload


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
    spec = recording_machine(path) if machine is None else None
    return Workload(recording_workload(path), "machine", machine=spec)
