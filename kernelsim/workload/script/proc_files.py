"""The files of /proc that steps of portable scripts print as they are.

Interface: `VERBATIM_FILES` names them by step, `proc_text` renders one; `mem_of` is what the step
`mem` prints of status.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from kernelsim.procfs.process import (
    render_maps,
    render_numa_maps,
    render_smaps,
    render_smaps_rollup,
    render_statm,
    render_status,
    status_memory_kb,
)
from kernelsim.procfs.snapshot import ProcessSnapshot
from kernelsim.workload.script.script_output import MEM_KEYS

VERBATIM_FILES: Final = {
    # step -> the file it prints; numastat prints one of each node instead
    "maps": "/proc/self/maps",
    "smaps": "/proc/self/smaps",
    "rollup": "/proc/self/smaps_rollup",
    "status": "/proc/self/status",
    "statm": "/proc/self/statm",
    "numa_maps": "/proc/self/numa_maps",
    "oom_score": "/proc/self/oom_score",
}
WALKING_STEPS: Final = ("rollup", "smaps", "numa_maps")  # their files need the page tables


def proc_text(step: str, process: ProcessSnapshot, nr_cpus: int) -> str:
    """Return the text of the file that a step prints, of a machine with so many CPUs."""
    renderers: dict[str, Callable[[ProcessSnapshot], str]] = {
        "maps": render_maps,
        "smaps": render_smaps,
        "rollup": render_smaps_rollup,
        "status": partial(render_status, nr_cpus=nr_cpus),
        "statm": render_statm,
        "numa_maps": render_numa_maps,
        "oom_score": lambda process: f"{process.oom_score}\n",
    }
    return renderers[step](process)


def mem_of(process: ProcessSnapshot) -> dict[str, int]:
    """Return the memory lines of a process's status and its faults, as `mem` prints them."""
    figures = {f"{name}_kB": kb for name, kb in status_memory_kb(process).items()}
    figures |= {"minflt_total": process.minflt, "majflt_total": process.majflt}
    return {key: figures[key] for key in MEM_KEYS}
