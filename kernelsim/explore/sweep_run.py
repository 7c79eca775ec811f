"""One run of a sweep, as a job of a worker: what it was told to be, and the numbers that came out.

Interface: `require_startable` a grid; `run_job`, from JSON values to JSON values, for a process
here or elsewhere; `SWEEP` is for a pool of such workers: `python -m kernelsim.explore.sweep_run`.
Units: pages and events as the kernel counts them; `_ns` virtual ns.
"""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from kernelsim.config.sysctl_write import parse_value
from kernelsim.errors import KernelsimError, SimulationError, UserError, one_line
from kernelsim.explore.pool import Kind, answer_lines
from kernelsim.explore.sweep_grid import MACHINE, MEMPOLICY, Grid
from kernelsim.report.latencies import FaultLatencies
from kernelsim.report.machine_run import RunOutcome, machine_of, run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from kernelsim.workload.machine import mempolicy_of
from kernelsim.workload.script.load import load_any

DONE: Final = "done"
FAILED: Final = "failed"  # an expectation, a panic, an outcome that nobody caught
REFUSED: Final = "refused"  # a mistake of the user's
BUG: Final = "bug"  # ours
LOST: Final = "lost"  # its worker died
WAITS: Final = ("reclaim_ns", "lock_ns", "io_ns", "run_delay_ns", "utime_ns", "stime_ns")

Result = dict[str, Any]
"""run, state, reason ("" unless something went wrong), metrics by name."""


def run_job(job: Mapping[str, Any]) -> Result:
    """Do one run.

    Args:
        job: One of `Grid.jobs`.

    Returns:
        What came of it; nothing is raised for a run that fails.
    """
    point = dict(job["point"])
    latencies = FaultLatencies()
    state, reason, metrics = DONE, "", {}
    try:
        machine, mempolicy = point.pop(MACHINE, None), point.pop(MEMPOLICY, None)
        path = Path(job["workload"])
        workload = loaded(path, machine)
        options = RunOptions(
            machine=machine,
            seed=job["seed"],
            settings=tuple(f"{name}={value}" for name, value in point.items()),
            mempolicy=mempolicy,
            burst_pages=job["burst_pages"],
            until=job["until"],
            progress=False,
        )
        with redirect_stdout(io.StringIO()):  # what a workload prints is no result
            outcome = run_machine(workload, options, name=str(path), beside=latencies)
        metrics = metrics_of(outcome, latencies)
        if outcome.failure is not None:
            state, reason = FAILED, one_line(str(outcome.failure))
    except SimulationError as error:
        state, reason = BUG, one_line(str(error))
    except KernelsimError as error:
        state, reason = REFUSED, one_line(str(error))
    except Exception as error:  # noqa: BLE001 - one run's bug is a row, and no end of the others
        state, reason = BUG, one_line(f"{type(error).__name__}: {error}")
    return {"run": job["run"], "state": state, "reason": reason, "metrics": metrics}


def loaded(path: Path, machine: str | None) -> Workload:
    """Load a workload of a machine.

    Raises:
        UserError: It is none.
    """
    workload = load_any(path, machine)
    if workload.kind == "simulation":
        raise UserError(f"{path}: is a simulation without a machine: there is nothing to set")
    return workload


def require_startable(grid: Grid) -> None:
    """Refuse a grid of which some runs cannot begin, on any of its machines.

    Raises:
        UserError: The workload is none, or none of a machine.
        ConfigError: No such machine or node, none at all, or a tunable that it has not so.
    """
    machines = grid.machines or (None,)
    workload = loaded(grid.workload, machines[0])  # its mistakes are not each run's
    for machine in machines:
        spec = machine_of(workload, RunOptions(machine=machine), {})
        with_memory = [node.nid for node in spec.nodes if node.managed_pages]
        for policy in grid.mempolicies:
            mempolicy_of(with_memory, policy, key=f"--mempolicy on {spec.name}")
        for name, values in grid.settings.items():
            for value in values:
                parse_value(name, value, spec.era)


def metrics_of(outcome: RunOutcome, latencies: FaultLatencies) -> dict[str, int | float]:
    """Return the numbers of a run.

    They are the virtual time; quantiles of the latency of a fault; the times that processes spent,
    summed; what the workload returned, if that is numbers by name; and /proc/vmstat, its counters
    of events from the start of the run, nr_ as they are at its end.
    """
    handle = outcome.machine
    spread = latencies.all()
    ended = outcome.kernel.engine.ended  # stopping the actors takes some more
    numbers: dict[str, int | float] = {
        "virtual_ns": handle.now_ns if ended is None else ended.now_ns
    }
    numbers |= {f"fault_{name}_ns": ns for name, ns in spread.at_ns.items()}
    spent = [attrs.asdict(process.stats) for process in handle.processes]
    numbers |= {name: sum(each[name] for each in spent) for name in WAITS}
    if isinstance(outcome.result, Mapping):
        own = outcome.result.items()
        numbers |= {str(name): value for name, value in own if type(value) in {int, float}}
    before = handle.spec.boot.vmstat
    for name, value in handle.vmstat.items():
        numbers[name] = value if name.startswith("nr_") else value - before.get(name, 0)
    return numbers


def lost(_is_late: bool, text: str) -> Result:
    """Return what stands for a run whose worker gave no answer."""
    return {"state": LOST, "reason": text, "metrics": {}}


SWEEP: Final[Kind[Result]] = Kind(
    "kernelsim.explore.sweep_run", msgspec.json.decode, lost, lambda _job: None
)


if __name__ == "__main__":
    answer_lines(lambda line: msgspec.json.encode(run_job(msgspec.json.decode(line))) + b"\n")
