"""What a portable script has done to the machine from outside: DIMMs put in and taken out.

The lines are those of QEMU's monitor. `host object_add memory-backend-ram,id=M,size=S` names
memory, which `host device_add pc-dimm,id=D,memdev=M` puts in, on a node if it ends
in `,node=N`; `host device_del D` asks it to leave.
Interface: `check_host` before the run, `run_host`.
"""

from typing import Final

from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.units import parse_size
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script import Host, Script

HOST_WORDS: Final = frozenset({"host object_add", "host device_add", "host device_del"})
BACKEND: Final = "memory-backend-ram"
DEVICE: Final = "pc-dimm"


def check_host(script: Script) -> None:
    """Refuse lines that cannot be run, in the order they come.

    Raises:
        WorkloadError: One line that names file, line and rule.
    """
    memory, dimms = set[str](), set[str]()
    for command in script.commands:
        if isinstance(command, Host):
            rule = _fault(command, memory, dimms)
            if rule:
                raise WorkloadError(f"{command.text!r} {rule}", script.file, command.line)


def _fault(command: Host, memory: set[str], dimms: set[str]) -> str:
    """Return the rule that a line breaks; "" for none. What it names is known from then on."""
    if len(command.words) != 2:  # noqa: PLR2004 - the command and its argument
        return "must be a command and one argument"
    op, kind, fields = _parts(command)
    name = fields.get("id", "")
    if op == "device_del":
        return "" if kind in dimms else "names no DIMM that a line before puts in"
    if not name:
        return "must have an id"
    if op == "object_add":
        memory.add(name)
        try:
            parse_size(fields.get("size", ""))
        except ConfigError as error:
            return f"must have a size: {error}"
        return "" if kind == BACKEND else f"must be of {BACKEND}"
    dimms.add(name)
    if kind != DEVICE or fields.get("memdev") not in memory:
        return f"must be a {DEVICE} whose memdev a line before names"
    return "" if fields.get("node", "0").isdecimal() else "must have a number for its node"


def _parts(command: Host) -> tuple[str, str, dict[str, str]]:
    """Return the command, the kind of what it names, and its fields."""
    op, argument = command.words
    kind, *pairs = argument.split(",")
    fields = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    return op, kind, fields


async def run_host(machine: MachineHandle, command: Host, memory: dict[str, str]) -> None:
    """Do what a line says; `memory` holds the sizes that lines have named so far.

    A DIMM that cannot leave stays, as the kernel log says; one for whose struct pages there is no
    memory stays out, and is not there to leave.
    """
    op, kind, fields = _parts(command)
    machine.print(f"@@HMP {op} {command.words[1]}")
    if op == "object_add":
        memory[fields["id"]] = fields["size"]
    elif op == "device_add":
        name, size = fields["id"], memory[fields["memdev"]]
        try:
            await machine.dimms.add(name, size, int(fields.get("node", "0")))
        except SyscallError:
            machine.print(f"{name} stays out")
    elif kind in machine.dimms.places:
        try:
            await machine.dimms.remove(kind)
        except SyscallError:
            machine.print(f"{kind} stays")
    machine.print("ack: OK")
