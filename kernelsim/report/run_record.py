"""What run.json says of a run, as far as it is known when the run starts.

Interface: `run_record`; `machine_digest`, its machine_sha256.
"""

import hashlib
import platform
from importlib.metadata import version
from typing import Final

from kernelsim import __version__
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_text
from kernelsim.machine import Machine
from kernelsim.report.run_options import RunOptions, replay_command

LIBRARIES: Final = ("numpy", "numba", "trio")  # those a result can depend on


def run_record(machine: Machine, options: RunOptions, workload: str) -> dict[str, object]:
    """Return what is known of a run when it starts; nothing in it is wall-clock time."""
    spec = machine.spec
    return {
        "kernelsim": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "workload": workload,
        "machine": spec.name,
        "machine_sha256": machine_digest(spec),
        "machine_option": options.machine if isinstance(options.machine, str) else None,
        "seed": options.seed,
        "schedule_seed": options.schedule_seed,
        "burst_pages": machine.kernel.burst_pages,
        "settings": list(options.settings),
        **({} if options.mempolicy is None else {"mempolicy": options.mempolicy}),
        **({} if options.damon is None else {"damon": options.damon}),
        "trace": list(options.trace),
        "until": options.until,
        "check": options.check,
        "replay": replay_command(options, workload),
    }


def machine_digest(spec: MachineSpec) -> str:
    """Return the SHA-256 of a description as text, in hex: the same for the same machine."""
    return hashlib.sha256(machine_text(spec).encode()).hexdigest()
