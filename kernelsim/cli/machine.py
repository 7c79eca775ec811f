"""`kernelsim machine`: list machines, show one, or make one from the text of a running kernel.

Interface: `machine` is the command; machine_check.py compares a recording's watermarks and
reserves with what our formulas give for the same zones.
Exit status: 0; from-proc and from-host: 1 when a recorded figure equals neither the formulas over
the zones nor what the kernel computes while it boots.
"""

import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from kernelsim.cli.machine_check import check_machine, print_check
from kernelsim.cli.machine_memory import page_size_of, print_memory
from kernelsim.cli.machine_oom import print_report
from kernelsim.config.from_oom import machine_from_oom
from kernelsim.config.from_proc import machine_from_recording
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_example import example_text
from kernelsim.config.machine_file import load_machine, machine_text, preset_names
from kernelsim.config.number_list import format_number_list
from kernelsim.config.oom_report import parse_oom_report
from kernelsim.config.recording import Recording
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.errors import ConfigError, UserError
from kernelsim.report.whole import write_whole
from kernelsim.units import PAGE_SIZE, format_duration, format_size

EXIT_DIFFERS: Final = 1
PROC: Final = Path("/proc")
STDIN: Final = "-"
Action = Literal["list", "show", "new", "from-proc", "from-host", "from-oom"]


def machine(
    action: Action,
    target: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    /,
    *,
    out: Path | None = None,
    toml: bool = False,
    page_size: str = "",
) -> int:
    """List machines, show one, or make one from a running kernel.

    list: the machines that come with the package. show NAME: a preset or a TOML file.
    new: a machine file with every key, its meaning, rule and default, to be changed and run.
    from-proc DIR: a snapshot of /proc, its figures checked against our formulas; also a saved
    zoneinfo, or - for what is pasted: with its prompt, quotes, or what grep puts before it.
    from-host: the same for the kernel this runs on. from-oom FILE: the machine and the tasks of a
    kernel's OOM report, which `run FILE` has happen again.

    Args:
        action: What to do.
        target: A preset or TOML file for show; a directory with zoneinfo, such a file, or - for
            standard input (from-proc); a kernel log (from-oom).
        out: Also write the machine as this TOML file (from-proc, from-host and from-oom).
        toml: Print the whole machine as a file that `run --machine` takes (show).
        page_size: What the memory models would spend with pages of this size, such as 16K (show).
    """
    if target.startswith("-") and (target, action) != (STDIN, "from-proc"):
        raise UserError(f"machine {action} has no option {target} (see --help)")
    wants_target = action in ("show", "from-proc", "from-oom")
    if wants_target != bool(target):
        rule = "needs a name or a directory" if wants_target else "takes no name"
        raise UserError(f"machine {action} {rule} (see --help)")
    if out is not None and action in ("list", "show", "new"):
        raise UserError(f"machine {action} takes no --out (see --help)")
    if toml and action != "show":
        raise UserError(f"machine {action} takes no --toml (see --help)")
    if page_size and (toml or action != "show"):
        raise UserError(
            f"machine {action} takes no --page-size{' with --toml' * toml} (see --help)"
        )
    if action == "new":
        print(example_text(), end="")
        return 0
    if action == "list":
        list_machines()
        return 0
    if action == "show":
        spec = load_machine(target)
        if toml:
            print(machine_text(spec), end="")
        else:
            print_machine(spec, page_size=page_size_of(page_size or PAGE_SIZE))
        return 0
    if action == "from-oom":
        return from_oom(Path(target), out=out)
    if target == STDIN:
        return from_proc(Recording.pasted(sys.stdin.read(), name="standard input"), out=out)
    return from_proc(Recording.of(Path(target) if target else PROC), out=out)


def list_machines() -> None:
    """Print the machines that come with the package."""
    table = Table("name", "CPUs", "nodes", "memory", "swap", box=None, pad_edge=False)
    for name in preset_names():
        spec = load_machine(name)
        memory = sum(node.present_pages for node in spec.nodes) * PAGE_SIZE
        swap = sum(area.size_bytes for area in spec.swaps)
        row = (name, spec.nr_cpus, len(spec.nodes), format_size(memory), format_size(swap))
        table.add_row(*map(str, row))
    console().print(table)


def from_proc(recording: Recording, *, out: Path | None) -> int:
    """Print the machine of a snapshot and the check of its figures; return the exit status."""
    spec = machine_from_recording(recording)
    print_machine(spec)
    check = check_machine(spec)
    print_check(check)
    if out is not None:
        write_machine(spec, out)
    return EXIT_DIFFERS if any(row.verdict == "differs" for row in check.rows) else 0


def from_oom(path: Path, *, out: Path | None) -> int:
    """Print the machine of an OOM report and its tasks; return the exit status."""
    report = parse_oom_report(path)
    spec = machine_from_oom(report)
    print_machine(spec)
    print_report(report)
    if out is not None:
        write_machine(spec, out)
    return 0


def console() -> Console:
    """Return a console that never breaks or cuts what it prints to a file or pipe."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def write_machine(spec: MachineSpec, path: Path) -> None:
    """Write the machine under a temporary name, then rename: no half-written file is left."""
    if path.is_dir():
        raise ConfigError("--out", str(path), "must be a file, not a directory")
    write_whole(path, lambda temporary: temporary.write_bytes(machine_text(spec).encode()))


def print_machine(spec: MachineSpec, *, page_size: int = PAGE_SIZE) -> None:
    """Print nodes, zones, the map of memory, distances, disks, swap and tunables that were set."""
    cpus = "1 CPU" if spec.nr_cpus == 1 else f"{spec.nr_cpus} CPUs"
    managed = format_size(sum(node.managed_pages for node in spec.nodes) * PAGE_SIZE)
    print(f"{spec.name}: {spec.arch}, rules of {spec.era.name}, {cpus}, {managed} for use")
    zones = Table("node", "CPUs", "zone", "start_pfn", "spanned", "present", "managed", box=None)
    for node in spec.nodes:
        for zone in node.zones:
            if zone.spanned_pages:
                sizes = (zone.start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages)
                cpus = format_number_list(node.cpus) or "none"
                zones.add_row(str(node.nid), cpus, zone.type.value, *map(str, sizes))
    console().print(zones)
    print_memory(spec, page_size=page_size)
    print("distances")
    for row in spec.distances:
        print("  " + " ".join(f"{distance:3}" for distance in row))
    for device in spec.devices:
        print(
            f"device {device.name}: queue {device.queue_depth}, "
            f"read {format_duration(device.read_latency_ns)}, "
            f"write {format_duration(device.write_latency_ns)}, "
            f"{format_size(device.bandwidth_bytes_per_s)}/s, scheduler {device.scheduler}"
            + (f", seek {format_duration(device.average_seek_ns)}" * bool(device.average_seek_ns))
        )
    for swap in spec.swaps:
        print(f"swap {swap.name}: {format_size(swap.size_bytes)}, priority {swap.prio}")
    for told in spec.boot.assumed:
        print(f"assumed: {told}")
    for field in attrs.fields(Sysctl):
        value = getattr(spec.sysctl, field.name)
        if value != field.default:
            name = field.metadata["name"]
            idle = SYSCTLS[name].idle
            print(f"sysctl {name} = {value}" + (f" (changes nothing yet: {idle})" if idle else ""))
