"""The files of /proc that steps of portable scripts print as they are.

Interface: `VERBATIM_FILES` names them by step, `proc_text` renders one.
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
)
from kernelsim.procfs.snapshot import ProcessSnapshot

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
