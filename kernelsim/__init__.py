"""A deterministic simulator of Linux memory management in virtual time.

Every CPU, NUMA node, kswapd and process is a task; what the kernel decides is plain functions.
Each folder's docstring is its guide. A folder imports only from those before it in this list:

    `units.py` `errors.py`  sizes, times, every exception
    `config`      machines, sysctls, costs: what a user may turn
    `sim`         the engine: virtual time, actors, locks, random streams; knows no memory
    `trace`       tracepoints and counters by Linux's names; knows no sink
    `hw`          what the hardware does: compiled leaf functions, TLB
    `mm`          what the kernel decides, named as Linux's mm/ directory: no waiting in here
    `block` `sched`  the decisions of the block layer and of the scheduler
    `actors`      what waits: CPUs, nodes, kswapd, devices, processes
    `procfs`      texts of /proc and /sys from snapshots
    `machine.py`  puts a machine together from a specification and a seed, and runs it
    `workload`    the interface for workload authors
    `check`       invariants, read-only
    `report`      what a run leaves behind
    `oracle`      runs of recorded cases of a real kernel, held against the recording
    `cli`         one file a command

`mm` and `actors` have rooms with an order of their own; a test enforces all of it.

In Python: `kernelsim.run("hog.py", machine="tiny-64m")` runs a workload, `kernelsim.read("out")`
reads a run's directory; both give a `kernelsim.Result`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelsim.report.result import Result as Result
    from kernelsim.report.result import read as read
    from kernelsim.report.result import run as run

__version__ = "0.1.0"

_FACE = {"run": "run", "read": "read", "Result": "Result"}  # imported when somebody asks for them


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute
    if name in _FACE:
        return getattr(import_module("kernelsim.report.result"), _FACE[name])
    raise AttributeError(f"module 'kernelsim' has no attribute {name!r}")
