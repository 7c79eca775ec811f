"""What a portable script has done to the machine from outside: DIMMs put in and taken out.

The lines are those of QEMU's monitor. `host object_add memory-backend-ram,id=M,size=S` names
memory, which `host device_add pc-dimm,id=D,memdev=M` puts in, on a node if it ends
in `,node=N`, at the address that `,addr=0x…` gives; `host device_del D` asks it to leave.
Interface: `check_host` before the run, `run_host`.
"""

import re
from typing import Final

from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.units import parse_size
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script import Host, Script

HOST_WORDS: Final = frozenset({"host object_add", "host device_add", "host device_del"})
FIELDS: Final = {"object_add": ("id", "size"), "device_add": ("id", "memdev", "node", "addr")}
BACKEND: Final = "memory-backend-ram"
DEVICE: Final = "pc-dimm"


def check_host(script: Script) -> None:
    """Refuse lines that cannot be run, in the order they come.

    Raises:
        WorkloadError: One line that names file, line and rule.
    """
    memory, dimms = set[str](), dict[str, bool]()
    for command in script.commands:
        if isinstance(command, Host):
            rule = _fault(command, memory, dimms)
            if rule:
                raise WorkloadError(f"{command.text!r} {rule}", script.file, command.line)


def _fault(command: Host, memory: set[str], dimms: dict[str, bool]) -> str:
    """Return the rule that a line breaks; "" for none. What it names is known from then on.

    Of each DIMM `dimms` tells whether it is in the machine for certain: none has asked it to leave.
    """
    if len(command.words) != 2:  # noqa: PLR2004 - the command and its argument
        return "must be a command and one argument"
    op, kind, fields = _parts(command)
    name = fields.get("id", "")
    if op == "device_del":
        if kind not in dimms:
            return "names no DIMM that a line before puts in"
        dimms[kind] = False
        return ""
    unknown = next((key for key in fields if key not in FIELDS[op]), None)
    if unknown is not None:
        return f"has {unknown!r}; known are {', '.join(FIELDS[op])}"
    if not name:
        return "must have an id"
    if name in memory if op == "object_add" else dimms.get(name):
        return "has the id of a line before"
    if op == "object_add":
        memory.add(name)
        try:
            parse_size(fields.get("size", ""))
        except ConfigError as error:
            return f"must have a size: {error}"
        return "" if kind == BACKEND else f"must be of {BACKEND}"
    dimms[name] = True
    if kind != DEVICE or fields.get("memdev") not in memory:
        return f"must be a {DEVICE} whose memdev a line before names"
    if not fields.get("node", "0").isdecimal():
        return "must have a number for its node"
    is_address = re.fullmatch("0x[0-9a-fA-F]{1,13}|[0-9]{1,16}", fields.get("addr", "0"))
    return "" if is_address else "must have an address such as 0x100000000"


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
            addr = int(fields["addr"], 0) if "addr" in fields else None
            await machine.dimms.add(name, size, int(fields.get("node", "0")), addr=addr)
        except SyscallError:
            machine.print(f"{name} stays out")
    elif kind in machine.dimms.places:
        try:
            await machine.dimms.remove(kind)
        except SyscallError:
            machine.print(f"{kind} stays")
    machine.print("ack: OK")
