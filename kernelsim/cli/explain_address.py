"""`kernelsim explain address`: what becomes of one address.

Of an architecture: canonical or not, the region, the indices. Of a run: the whole walk, as a
process of it would have it at the end of the run, which is run again for that, to the byte.
Exit status: 0 done, 2 wrong use or bad input.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.config.machine_file import load_machine
from kernelsim.config.zones import ZONE_NORMAL_END_PFN_I386
from kernelsim.errors import ConfigError
from kernelsim.machine import Machine
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.kernel_layout import KernelLayout, kernel_layout
from kernelsim.procfs.address_walk import explain_address, explain_indices, explain_layout
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions, options_of_record
from kernelsim.report.run_record import machine_digest
from kernelsim.report.rundir import RUN, run_of
from kernelsim.units import GIB, PAGE_SIZE
from kernelsim.workload.script.load import load_any

ADDRESS_MAX: Final = (1 << 64) - 1
LOW_PFNS: Final = {"x86_64": 4 * GIB // PAGE_SIZE}  # without a run: what the direct map reaches


def address(
    number: str,
    run: Path | None = None,
    /,
    *,
    process: str | None = None,
    arch: str | None = None,
    machine: str | None = None,
    until: str | None = None,
) -> None:
    """Show the walk of an address: region, indices, entries with their flags, frame or fault.

    Args:
        number: The address, such as 0x7f3a12345678.
        run: What `kernelsim run --out` wrote, or a workload, to walk in the tables of a process;
            without, the layout of an architecture is shown.
        process: Pid or name of that process; one that lives at the end. The first by default.
        arch: x86_64, i386 or i386pae, without a run; x86_64 by default.
        machine: A preset or a TOML file instead: its architecture, and a direct map of its memory.
        until: Look at this virtual time instead of at the run's end.
    """
    at = address_of(number)
    if run is None:
        refuse("needs a run to look at", {"--process": process, "--until": until})
        refuse("goes without --machine", {"--arch": arch if machine else None})
        name, layout = layout_of_machine(machine) if machine else layout_of(arch or "x86_64")
        lines = of_architecture(name, layout, at)
    else:
        refuse("goes without a run, which has its own", {"--arch": arch, "--machine": machine})
        kernel = end_of(run, until)
        lines = explain_address(kernel, process_of(kernel, process), at)
    print("\n".join(lines))


def refuse(rule: str, options: dict[str, str | None]) -> None:
    """Refuse options that were given.

    Raises:
        ConfigError: One was.
    """
    for option, value in options.items():
        if value is not None:
            raise ConfigError(option, value, rule)


def address_of(text: str) -> int:
    """Read an address.

    Raises:
        ConfigError: It is none of 64 bits.
    """
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= ADDRESS_MAX:
        raise ConfigError("ADDRESS", text, "must be a number below 2**64, such as 0x7f3a12345678")
    return number


def layout_of(arch: str) -> tuple[str, KernelLayout]:
    """Return an architecture and its kernel's layout, with as much memory as it usually has.

    Raises:
        ConfigError: There is none of that name.
    """
    if arch not in ADDRESS_LAYOUTS:
        raise ConfigError("--arch", arch, f"must be one of {', '.join(ADDRESS_LAYOUTS)}")
    return arch, kernel_layout(arch, LOW_PFNS.get(arch, ZONE_NORMAL_END_PFN_I386))


def layout_of_machine(machine: str) -> tuple[str, KernelLayout]:
    """Return a machine's architecture and its kernel's layout."""
    kernel = Machine(load_machine(machine)).kernel
    return kernel.spec.arch, kernel.init_mm.layout


def of_architecture(arch: str, layout: KernelLayout, at: int) -> Iterator[str]:
    """Yield what is known of an address without page tables."""
    yield from explain_layout(arch, layout, at)
    yield from explain_indices(arch, at)


def end_of(run: Path, until: str | None) -> Kernel:
    """Run a run again, or a workload, to its end or a virtual time; return the machine.

    Raises:
        ConfigError: It is no run, or had no machine, or the same does not run here any more.
    """
    path, options, told = run, RunOptions(until=until, progress=False), None
    if run.is_dir():
        told = run_of(run)
        if told is None:
            raise ConfigError("RUN", str(run), f"must hold a run that has ended, with its {RUN}")
        if told.get("kind") == "simulation":
            raise ConfigError("RUN", str(run), "was a simulation without a machine")
        path, options = Path(str(told["workload"])), options_of_record(told)
        options = attrs.evolve(options, until=until or options.until)
    if not path.is_file():
        raise ConfigError("RUN", str(run), f"needs the workload it is of, {path}, to run again")
    workload = load_any(path, options.machine if isinstance(options.machine, str) else None)
    if workload.kind == "simulation":
        raise ConfigError("RUN", str(run), "was a simulation without a machine")
    with contextlib.redirect_stdout(io.StringIO()):
        outcome = run_machine(workload, options, name=str(path))
    kernel = outcome.kernel
    if told is None:
        return kernel
    is_same = machine_digest(kernel.spec) == told.get("machine_sha256") and (
        until is not None or kernel.engine.clock.number == told.get("nr_steps")
    )
    if not is_same:
        rule = f"is another run than {path} makes here now: run it again with --out"
        raise ConfigError("RUN", str(run), rule)
    return kernel


def process_of(kernel: Kernel, named: str | None) -> ProcessEntry:
    """Return the process that is meant.

    Raises:
        ConfigError: None lives that has that pid or name.
    """
    entries = list(kernel.processes.values())
    if not entries:
        raise ConfigError("--process", named, "no process is alive at that moment; see --until")
    for entry in entries:
        if named is None or named in (entry.comm, str(entry.pid)):
            return entry
    alive = ", ".join(f"{entry.pid} ({entry.comm})" for entry in entries)
    raise ConfigError("--process", named, f"must be one that is alive: {alive}")
