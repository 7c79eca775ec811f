"""Memory that comes and goes while programs use it.

A machine of 384 MiB gets a DIMM of 128 MiB, which goes online as ZONE_MOVABLE: all that lies there
can be moved. A program has 8 MiB of it and goes on storing there while the DIMM is asked to leave:
each page is copied elsewhere, and a store to one that is being copied waits on its migration entry,
then goes on at the same address. Put in again the DIMM goes online for the kernel: page tables get
there, which cannot be moved, and it cannot leave until the program ends they belong to.
"""

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import SyscallError
from kernelsim.workload import MachineHandle, ProcessHandle, workload

INDEX = 32  # of the DIMM's block, which is at 4 GiB
STATE = f"/sys/devices/system/memory/memory{INDEX}/state"
SIZE = 8 << 20
TABLE_SPAN = 2 << 20  # bytes that one page table maps
NR_TABLES = 2000


def machine_with_slots() -> MachineSpec:
    """Return a machine of 384 MiB and two CPUs that has room for 128 MiB more."""
    node = {"cpus": "0-1", "memory": "384M"}
    return machine_from_toml({"name": "hot-384m", "maxmem": "512M", "node": [node]})


def note(machine: MachineHandle, when: str) -> None:
    """Note what /sys and /proc show."""
    blocks = [block for block in machine.capture().memory_blocks if block.index == INDEX]
    states = [f"memory{b.index} {b.state}, valid_zones {b.valid_zones}" for b in blocks]
    managed = [machine.zone(0, name).managed for name in ("DMA32", "Normal", "Movable")]
    kbytes = machine.sysctl("vm.min_free_kbytes")
    machine.note(
        f"{when:16}: DMA32 {managed[0]}, Normal {managed[1]}, Movable {managed[2]} pages, "
        f"min_free_kbytes {kbytes}; {''.join(states) or 'no block'}"
    )


async def remove(machine: MachineHandle) -> str:
    """Ask the DIMM to leave; return why it does not, "" if it has left."""
    try:
        await machine.dimms.remove("dimm0")
    except SyscallError as error:
        return str(error)
    return ""


async def movable(machine: MachineHandle) -> None:
    """Let a DIMM leave whose pages are all in use, under stores to them."""
    await machine.dimms.add("dimm0", "128M")
    note(machine, "a DIMM is put in")
    await machine.write_sysfs(STATE, "online_movable")
    note(machine, "online_movable")
    filled, is_leaving, waits = machine.wait_queue("pages in the DIMM"), [True], []

    async def store(process: ProcessHandle) -> None:
        region = await process.mmap(SIZE)
        await process.touch(region, write=True)
        filled.wake_all()
        before = process.stats.pgfault
        while is_leaving:
            await process.touch(region, write=True)
        waits.append(process.stats.pgfault - before)

    free = machine.zone(0, "Movable").free
    user = await machine.spawn("user", store)
    await filled.wait()
    machine.expect(free - machine.zone(0, "Movable").free >= SIZE >> 12, "all of it is there")
    began_ns = machine.now_ns
    why = await remove(machine)
    took_us = (machine.now_ns - began_ns) // 1000
    is_leaving.clear()
    await user.wait()
    note(machine, "it has left")
    moved = machine.vmstat["pgmigrate_success"]
    machine.expect(not why and moved >= SIZE >> 12, "what is movable leaves")
    machine.expect(waits[0] > 0, "some stores wait for a page that is being copied")
    machine.note(f"{moved} pages were moved in {took_us} us; {waits[0]} stores waited for one")


async def unmovable(machine: MachineHandle) -> None:
    """Let page tables get into a DIMM, which cannot leave then."""
    await machine.dimms.add("dimm0", "128M")
    await machine.write_sysfs(STATE, "online_kernel")
    note(machine, "online_kernel")
    machine.sysctl("vm.overcommit_memory", 1)
    user = await machine.spawn("tables")
    region = await user.mmap(NR_TABLES * TABLE_SPAN)
    await user.touch(region, stride=TABLE_SPAN)  # loads: of the zero page, but for the tables
    why = await remove(machine)
    machine.expect("EBUSY" in why, "page tables are not moved")
    log = machine.dmesg.splitlines()[-3:]
    machine.note(f"it stays: {why}; the log: {log[0].partition('] ')[2]}")
    await user.exit()
    machine.expect(not await remove(machine), "but go with their program")
    note(machine, "it has left")


@workload(machine=machine_with_slots())
async def main(machine: MachineHandle) -> None:
    """Movable memory leaves under its users; memory of the kernel does not."""
    note(machine, "at boot")
    await movable(machine)
    await unmovable(machine)
