"""What a portable script has done to the machine from outside: DIMMs put in and taken out.

The lines are those of QEMU's monitor. `host object_add memory-backend-ram,id=M,size=S` names
memory, which `host device_add pc-dimm,id=D,memdev=M` puts in, on a node if it ends
in `,node=N`, at the address that `,addr=0x…` gives; `host device_del D` asks it to leave.
Interface: `check_host` before the run; a `Hypervisor` a run.
"""

import re
from typing import Final

from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.sim.actor import Actor, ActorRef
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


class Monitor(Actor):
    """The other end of QEMU's monitor: what it was asked for goes on behind its answer.

    Args:
        machine: Whose DIMMs are asked to leave, by messages with their names; None waits for those
            before it.
    """

    def __init__(self, machine: MachineHandle) -> None:
        super().__init__("monitor")
        self._machine = machine

    async def receive(self, message: str | None) -> None:
        """Ask a DIMM to leave; one that cannot stays, as the kernel log says."""
        if message is None or message not in self._machine.dimms.places:
            return
        try:
            await self._machine.dimms.remove(message)
        except SyscallError:
            self._machine.print(f"{message} stays")


class Hypervisor:
    """What is outside of a machine: it puts DIMMs in, and asks them to leave.

    Args:
        machine: The machine.
    """

    def __init__(self, machine: MachineHandle) -> None:
        self._machine = machine
        self._sizes: dict[str, str] = {}
        self._monitor: ActorRef | None = None

    async def run(self, command: Host) -> None:
        """Do what a line says; the lines behind `device_del` run while the kernel lets a DIMM go.

        A DIMM for whose struct pages there is no memory stays out, and is not there to leave.
        """
        op, kind, fields = _parts(command)
        self._machine.print(f"@@HMP {op} {command.words[1]}")
        if op == "object_add":
            self._sizes[fields["id"]] = fields["size"]
        elif op == "device_add":
            await self.finish()
            await self._add(fields)
        else:
            if self._monitor is None:
                self._monitor = self._machine.dimms.kernel.engine.spawn(Monitor(self._machine))
            self._monitor.tell(kind)
        self._machine.print("ack: OK")

    async def _add(self, fields: dict[str, str]) -> None:
        name, size, nid = fields["id"], self._sizes[fields["memdev"]], int(fields.get("node", "0"))
        addr = int(fields["addr"], 0) if "addr" in fields else None
        try:
            await self._machine.dimms.add(name, size, nid, addr=addr)
        except SyscallError:
            self._machine.print(f"{name} stays out")

    async def finish(self) -> None:
        """Wait until all DIMMs that were asked to leave have left, or stay."""
        if self._monitor is not None:
            await self._monitor.ask(None)
