"""What steps of a script do to a process, whoever reports of it.

Interface: `call_arguments` and `make_call` for a step that is a system call, `make_part` for a
part of a region, `touch_random` for random pages, `map_file`, `write_file` for
poke, `named_by`, `number_of` and `sysctl_of_path` for what a step's words mean.
Units: bytes, pages.
"""

from collections.abc import Mapping
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.process.calls.sysfs import MEMORY, NODE
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.mm.space.vm_flags import PROT_READ, PROT_WRITE
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script_steps import Argument, Step, form_of
from kernelsim.workload.script.splitmix import SplitMix64
from kernelsim.workload.syscall import MappedRange

Fields = tuple[tuple[str, int | str], ...]
EINVAL: Final = 22
ACTIONS: Final = {  # no tunables: a write does something, the call of the name; and what may be
    "vm.drop_caches": ("drop_caches", ("1", "2", "3")),
    "vm.compact_memory": ("compact_memory", ("1",)),
}
SHARED: Final = "s"  # last word of mapfile
RANDOM_BATCH: Final = 4096  # accesses handed to the process at once


@attrs.frozen
class Outcome:
    """What a step that reports gives back."""

    ret: int = 0
    errno: int = 0
    fields: Fields = ()


NO_REGION: Final = Outcome(-1, EINVAL)  # of a step on a region whose mapping had failed


def call_arguments(regions: Mapping[str, MappedRange], step: Step) -> list[object] | None:
    """Return what a step that is a system call passes; None if its region's mapping had failed."""
    arguments: list[object] = []
    for kind, argument in zip(form_of(step.op).split(), step.args, strict=True):
        if kind in ("region", "gone"):
            region = regions.get(str(argument))
            if region is None:
                return None
            arguments.append(region)
        elif kind != "new" and argument is not None:
            arguments.append(argument)
    return arguments


async def make_call(process: ProcessHandle, step: Step, arguments: list[object]) -> object:
    """Make the call of the table that a step spells; return what the program gets.

    Raises:
        SyscallError: It failed.
    """
    call = CALLS.by_step[step.op]
    return await process.syscall(call.name, *arguments, **call.steps[step.op])


def make_part(regions: dict[str, MappedRange], step: Step) -> bool:
    """part: give a part of a region a name of its own; False if the region has no such part."""
    name, of, offset, length = step.args
    region, start = regions.get(str(of)), number_of(offset)
    if region is None or start >= region.length:
        regions.pop(str(name), None)
        return False
    size = min(number_of(length), region.length - start)
    regions[str(name)] = MappedRange(region.address + start, size)
    return True


def named_by(step: Step, kind: str) -> str | None:
    """Return the name a step has for an argument of a kind: `new` or `gone`; None for none."""
    kinds = form_of(step.op).split()
    return str(step.args[kinds.index(kind)]) if kind in kinds else None


async def touch_random(process: ProcessHandle, region: MappedRange, step: Step) -> None:
    """randw, randr, fillrand: access so many random pages, or store to all, unless it is killed."""
    if step.op == "fillrand":  # eight bytes at a time, in pages that the first of them brings
        await process.touch(region, write=True)
        return
    _, seed, count = step.args
    numbers, nr_pages = SplitMix64(number_of(seed)), max(1, region.length // PAGE_SIZE)
    left = number_of(count)
    while left and process.exit_status is None:
        n = min(left, RANDOM_BATCH)
        vpns = (region.address >> PAGE_SHIFT) + numbers.draw_pages(nr_pages, n)
        await process.touch_pages(vpns, np.full(n, step.op == "randw", np.uint8))
        left -= n


async def map_file(process: ProcessHandle, step: Step) -> MappedRange:
    """mapfile: map a whole file, private for reading, or for writing, too: shared or private.

    Raises:
        SyscallError: There is no such file, or no room for its mapping.
    """
    _, path, word = step.args
    fd = await process.open(str(path))
    size = int(await process.syscall("fstat", fd))
    prot = PROT_READ | (PROT_WRITE if word is not None else 0)
    try:
        return await process.mmap(size, fd=fd, shared=word == SHARED, prot=prot)
    finally:
        await process.close(fd)


def number_of(argument: Argument) -> int:
    """Return an argument the grammar knows to be a number."""
    assert isinstance(argument, int), "the grammar gives a number here"
    return argument


async def write_file(process: ProcessHandle, machine: MachineHandle, step: Step) -> None:
    """poke: write a sysctl through its file, or to a file of /sys.

    Raises:
        SyscallError: The write failed.
        ConfigError: It is no sysctl, or may not have that value.
    """
    path, word = map(str, step.args)
    name = sysctl_of_path(path)
    if is_sysfs(path):
        await process.syscall("write_sysfs", path, word)
    elif name in ACTIONS:
        await process.syscall(ACTIONS[name][0], int(word))
    else:
        machine.sysctl(name, word)


def is_sysfs(path: str) -> bool:
    """Tell whether a file is one of memory blocks or nodes in /sys, which can be written to."""
    return path.startswith((MEMORY, NODE))


def sysctl_of_path(path: str) -> str:
    """Return the name of the tunable a file of /proc/sys stands for; "" for another file."""
    below = path.removeprefix("/proc/sys/")
    return below.replace("/", ".") if below != path else ""
