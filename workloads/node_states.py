"""The states of nodes before and after memory comes to a node that had none, and goes again.

Node 1 has a CPU and no memory: what is allocated there comes from node 0. A DIMM of 128 MiB that
goes online as ZONE_MOVABLE gives it memory, though none that the kernel could use for itself
(N_MEMORY, not N_NORMAL_MEMORY); online for the kernel it is normal memory, too. When the DIMM has
left all is as before, and the pages that lay on it are on node 0.
"""

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

NODE = "devices/system/node/"
STATES = ("possible", "online", "has_normal_memory", "has_memory", "has_cpu")
STATE = "/sys/devices/system/memory/memory32/state"  # of the DIMM's block, at 4 GiB


def machine_with_a_bare_node() -> MachineSpec:
    """Return a machine whose second node has a CPU and a slot, and no memory."""
    nodes = [{"cpus": "0", "memory": "256M"}, {"cpus": "1"}]
    return machine_from_toml({"name": "bare-node", "maxmem": "384M", "node": nodes})


def states(machine: MachineHandle, when: str) -> dict[str, str]:
    """Note the states of all nodes; return them."""
    now = {name: machine.sysfs(NODE + name).strip() for name in STATES}
    machine.note(f"{when:16}: " + ", ".join(f"{name} {nids}" for name, nids in now.items()))
    return now


async def nodes_of(process: ProcessHandle, region: MappedRange) -> list[int]:
    """Return the nodes on which pages of a region lie."""
    pages = range(region.address, region.address + region.length, 4096)
    told = await process.syscall("move_pages", 0, pages)
    return sorted(set(told.status.tolist()))


@workload(machine=machine_with_a_bare_node())
async def main(machine: MachineHandle) -> None:
    """Movable memory, then memory for the kernel."""
    before = states(machine, "at boot")
    process = await machine.spawn("user", cpu=1)
    region = await process.mmap("4M")
    for word, has_normal in (("online_movable", "0"), ("online_kernel", "0-1")):
        await machine.dimms.add("dimm0", "128M", nid=1)
        machine.expect(states(machine, "a DIMM is put in") == before, "offline it changes nothing")
        await machine.write_sysfs(STATE, word)
        now = states(machine, word)
        wanted = {**before, "has_memory": "0-1", "has_normal_memory": has_normal}
        machine.expect(now == wanted, f"{word}: the node has memory")
        await process.touch(region, write=True)
        machine.expect(await nodes_of(process, region) == [1], "its CPU uses it")
        if word == "online_kernel":  # where page tables of the process are, too
            await process.exit()
        await machine.dimms.remove("dimm0")
        machine.expect(states(machine, "it has left") == before, "all is as before")
        if word == "online_movable":
            machine.expect(await nodes_of(process, region) == [0], "its pages have moved")
            await process.syscall("madvise", region, "dontneed")
