"""What does a hole in physical memory cost? FLATMEM, DISCONTIGMEM and SPARSEMEM on one machine.

An old machine, 40 bytes a struct page, has 1 GiB below and 1 GiB above a hole of 1 GiB. Each
model finds the struct page of each frame and the frame of each struct page; what it keeps for the
hole is memory that no process gets. The machine that runs has FLATMEM: it boots with 10 MiB less
for use than its neighbour with SPARSEMEM, and a process can have just what is there.
"""

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.memory_model import MODELS
from kernelsim.procfs.meminfo import meminfo_kb
from kernelsim.workload import MachineHandle, workload

HOLE = (1 << 18, 1 << 19)  # frames: 1 GiB to 2 GiB
EDGES = (1, HOLE[0] - 1, HOLE[1], (3 << 18) - 1)  # first and last frames of both sides


def old_machine(model: str) -> MachineSpec:
    """Return the machine as built with a memory model."""
    return machine_from_toml(
        {
            "name": f"hole-{model}",
            "era": "classic",
            "memory_model": model,
            "holes": ["1G-2G"],
            "node": [{"cpus": "0", "memory": "2G"}],
        }
    )


@workload(machine=old_machine("flatmem"))
async def main(machine: MachineHandle) -> None:
    """Look frames up in each model, compare costs, and use the memory that is left."""
    hole_pages = HOLE[1] - HOLE[0]
    for name in MODELS:
        maps = machine.spec.mem_map(name)
        pages = [maps.pfn_to_page(pfn) for pfn in EDGES]
        machine.expect([*map(maps.page_to_pfn, pages)] == [*EDGES], f"{name}: there and back")
        is_kept = maps.pfn_valid(HOLE[0])
        machine.expect(is_kept == (name != "sparsemem"), f"{name}: frames of a hole")
        machine.expect(is_kept == (maps.hole_bytes >= 40 * hole_pages), f"{name}: its cost")
        machine.note(
            f"{name:12}: {len(maps.maps):2} maps, {maps.mem_map_bytes:8} bytes, for frames that "
            f"are no memory {maps.hole_bytes:8}; frame {HOLE[1]} is described at {pages[2]:#x}"
        )
    flat, sparse = machine.spec, old_machine("sparsemem")
    lost = sum(each.managed_pages for each in sparse.nodes) - sum(
        each.managed_pages for each in flat.nodes
    )
    machine.expect(lost == 40 * hole_pages // 4096, "the struct pages of the hole are in use")
    free_kb = meminfo_kb(machine.capture())["MemFree"]
    process = await machine.spawn("user")
    written = await process.touch(await process.mmap("1900M"), write=True)
    machine.expect(not written.signal, "1900 MiB fit, on both sides of the hole")
    machine.note(
        f"flatmem leaves {lost} pages less than sparsemem; of {free_kb >> 10} MiB free the process "
        f"took {(free_kb - meminfo_kb(machine.capture())['MemFree']) >> 10}"
    )
