"""A plan: one randomized run, as plain data that a file holds whole.

What a plan does is a portable script (workload/script/script.py) on a machine as a machine file
describes it, and faults, which no script can say. So a run that fails can be cut down by cutting
text, and its script and machine taken elsewhere.

Interface: `Plan` is a value; `plan_text` and `read_plan` write and read its TOML.
Units: ns; `event` counts the engine's steps since the script began.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.structure import structure
from kernelsim.config.toml_text import read_toml, toml_text
from kernelsim.errors import ConfigError
from kernelsim.workload.script.script import Memhog, Script, parse_script

FORMAT: Final = 1  # of the file
SLOW_DISK: Final = "slow-disk"
LATE_CPU: Final = "late-cpu"
KILL: Final = "kill"
BAD_READS: Final = "bad-reads"
BAD_WRITES: Final = "bad-writes"
POWER_CUT: Final = "power-cut"
FAULT_KINDS: Final = (SLOW_DISK, LATE_CPU, KILL, BAD_READS, BAD_WRITES, POWER_CUT)


@attrs.frozen(kw_only=True)
class Fault:
    """Something that goes wrong at a time, whatever runs then.

    Attributes:
        kind: "slow-disk": for a time each request of a disk takes longer; much longer is a disk
            that stalls. "late-cpu": a thread of the kernel keeps a CPU for a time, so what is woken
            there runs late. "kill": SIGKILL to a process. "bad-reads", "bad-writes": for a time all
            requests of a disk in one direction fail with EIO. "power-cut": the machine goes out,
            and its disks must hold what fsync and sync have acknowledged.
        target: The disk's name, the CPU's number, the process's name, or "machine".
        event: When: the step of the engine since the script began, at whatever await that is.
        for_ns: How long the disk is slow, or bad.
        by_ns: What a request takes longer; how long the CPU is kept.
    """

    kind: str
    target: str
    event: int
    for_ns: int = 0
    by_ns: int = 0

    def __attrs_post_init__(self) -> None:
        """Check what no field can know."""
        if self.kind not in FAULT_KINDS:
            raise ConfigError("fault.kind", self.kind, f"must be one of {', '.join(FAULT_KINDS)}")
        for key in ("event", "for_ns", "by_ns"):
            if getattr(self, key) < 0:
                raise ConfigError(f"fault.{key}", getattr(self, key), "must be 0 or more")


@attrs.frozen(kw_only=True)
class Plan:
    """One run.

    Attributes:
        name: Where it came from, for people: "seed 1 run 17".
        seed: Of the machine's random numbers.
        schedule_seed: Order of simultaneous events; None for the order they were planned in.
        burst_pages: Most pages a task touches in one go.
        check_every: Steps of the engine between two looks at all invariants.
        observe: Keep a record of what each process stored and each request took, and compare.
        load_events: Steps after which all processes are killed and calm begins.
        script: Lines of a portable script.
        fault: What goes wrong.
        machine: As in a machine file.
        seen_kind: How it failed when it was written down; "" if it did not.
        seen_digest: What its run left then, as a digest.
    """

    name: str
    seed: int = 1
    schedule_seed: int | None = None
    burst_pages: int = 512
    check_every: int = 500
    observe: bool = True
    load_events: int = 5000
    script: tuple[str, ...] = ()
    fault: tuple[Fault, ...] = ()
    machine: dict[str, Any]
    seen_kind: str = ""
    seen_digest: str = ""

    def spec(self) -> MachineSpec:
        """Return the machine.

        Raises:
            ConfigError: It breaks a rule.
        """
        return machine_from_toml(self.machine)

    @cached_property
    def parsed(self) -> Script:
        """The script.

        Raises:
            WorkloadError: A line breaks a rule.
        """
        return parse_script(self.script_text())

    def script_text(self) -> str:
        """Return the script as a file has it."""
        return "".join(f"{line}\n" for line in self.script)

    @property
    def processes(self) -> list[Memhog]:
        """The processes of the script, in the order they start."""
        return [command for command in self.parsed.commands if isinstance(command, Memhog)]

    @property
    def nr_steps(self) -> int:
        """How many steps they have in all."""
        return sum(len(process.steps) for process in self.processes)


def plan_text(plan: Plan) -> str:
    """Return a plan as TOML; `read_plan` reads the same plan back."""
    table: dict[str, Any] = {"format": FORMAT}
    fields = attrs.asdict(plan, recurse=False)
    machine = fields.pop("machine")
    fields["fault"] = [attrs.asdict(fault) for fault in plan.fault]
    table |= {key: value for key, value in fields.items() if value not in (None, (), "")}
    return toml_text(table | {"machine": machine})


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError, WorkloadError: In one line, with the file's name: what and the rule.
    """
    try:
        plan = plan_of(read_toml(path))
        plan.spec()
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, path) from None
    parse_script(plan.script_text(), str(path))
    return plan


def plan_of(table: dict[str, Any]) -> Plan:
    """Return the plan of a table.

    Raises:
        ConfigError: A key is missing, or its value has the wrong type.
    """
    version = table.get("format")
    if version != FORMAT:
        raise ConfigError("format", version, f"must be {FORMAT}, a plan of ours")
    machine = table.get("machine")
    if not isinstance(machine, dict):
        raise ConfigError("machine", machine, "must be a table, as a machine file has it")
    rest = {key: value for key, value in table.items() if key != "format"}
    plan = structure({**rest, "machine": {}}, Plan)
    return attrs.evolve(plan, machine=machine)
