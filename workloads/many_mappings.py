"""Mappings are told apart by what may be done with them, and are found through a maple tree.

Mappings that lie side by side and are alike are one: a line of maps. A page of it that may only be
read makes three of it; once it is as the others again, there is one again.

Then a program lets every second page be read only, until there are vm.max_map_count mappings and
mprotect says ENOMEM. Each takes a vm_area_struct, and where they touch each other, a slot of a leaf
of the tree: up to 16 of them a node of 256 bytes, those apart that were free since boot. So an
address is found by way of four nodes. The kernel pays for mappings, though no page of them is
there; what it pays comes back.
"""

import errno

from kernelsim.errors import SyscallError
from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

PAGE = 4096
READ, WRITE = 1, 2
MOST = 1200
LEAF = 16  # slots of a leaf, of which at least seven are in use


def lines(process: ProcessHandle, region: MappedRange) -> list[str]:
    """Return the lines of maps that lie in a range: addresses and permissions."""
    parts = [line.split()[:2] for line in process.proc("maps").splitlines()]
    return [
        " ".join(part)
        for part in parts
        if region.address <= int(part[0].split("-")[0], 16) < region.address + region.length
    ]


def slabs(machine: MachineHandle, name: str) -> tuple[int, int]:
    """Return the objects of a slab cache in use or kept, and its pages, as slabtop shows them."""
    for line in machine.proc("slabinfo").splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[2]), int(words[5]) * int(words[-2])
    return 0, 0  # before 6.1 there are no maple nodes


async def split_and_merge(machine: MachineHandle, process: ProcessHandle) -> None:
    """Make three mappings of one, and one of three."""
    region = await process.mmap(3 * PAGE)
    middle = MappedRange(region.address + PAGE, PAGE)
    shown = [lines(process, region)]
    for prot in (READ, READ | WRITE):
        await process.syscall("mprotect", middle, prot)
        shown.append(lines(process, region))
    machine.expect([len(each) for each in shown] == [1, 3, 1], "alike and side by side are one")
    machine.expect(shown[1][1].endswith("r--p"), "the page in the middle may only be read")
    for label, each in zip(("mapped", "split", "merged"), shown, strict=True):
        machine.print(f"{label:7} {', '.join(each)}")
    await process.munmap(region)


async def until_there_are_too_many(process: ProcessHandle, region: MappedRange) -> int:
    """Cut a mapping page by page; return the errno that ends it."""
    for at in range(0, region.length, 2 * PAGE):
        try:
            await process.syscall("mprotect", MappedRange(region.address + at, PAGE), READ)
        except SyscallError as error:
            return error.errno
    return 0


@workload(machine="tiny-64m")
async def main(machine: MachineHandle) -> None:
    """Split and merge a mapping, then have as many as there may be."""
    machine.sysctl("vm.max_map_count", MOST)
    process = await machine.spawn("mappings")
    await split_and_merge(machine, process)

    region = await process.mmap(2 * MOST * PAGE)
    told = await until_there_are_too_many(process, region)
    count = len(process.proc("maps").splitlines())
    machine.expect(told == errno.ENOMEM, "there may be no more than vm.max_map_count")
    machine.expect(count in (MOST, MOST + 1), "which are as many as maps has lines")
    machine.print(f"{count} mappings, then mprotect says {errno.errorcode.get(told, 'nothing')}")

    pages = 0
    for name in ("vm_area_struct", "maple_node"):
        objects, held = slabs(machine, name)
        machine.print(f"{name}: {objects} objects in {held} pages")
        pages += held
    nodes, _ = slabs(machine, "maple_node")
    machine.expect(nodes < 2 * count // LEAF, "slots of nodes are in use, not one a node")

    await process.munmap(region)
    left = sum(slabs(machine, name)[1] for name in ("vm_area_struct", "maple_node"))
    machine.print(f"unmapped: {left} of these {pages} pages are kept")
    machine.expect(left < pages // 2, "most of the slabs are given back")
