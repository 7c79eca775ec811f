"""The way of one load and of one store, from the virtual address to the data and back.

A process has thirteen pages whose translations go into the same set of its CPU's TLB, which has
room for twelve. So the page it wrote first has none any more: a load of it walks four levels of
page tables, each entry at its place in physical memory. A second load finds the translation. A
load sends its address over the bus and data comes back; a store sends its address, then its data.
With `--trace ks_mem_access --out DIR` each step is in the log, and `kernelsim explain access` shows
the same for any machine.
"""

from kernelsim.hw.tlb import NR_TLB_SETS, NR_TLB_WAYS
from kernelsim.units import PAGE_SIZE
from kernelsim.workload import MachineHandle, workload

STRIDE = NR_TLB_SETS * PAGE_SIZE  # bytes between pages of one set
PAGES = NR_TLB_WAYS + 1


@workload(machine="uma-2g")
async def main(machine: MachineHandle) -> None:
    """Access the oldest two pages, which the TLB has forgotten, then one of them again."""
    process = await machine.spawn("one access", cpu=0)
    region = await process.mmap(STRIDE * PAGES)
    await process.touch(region, write=True, stride=STRIDE)
    accesses = (("load", 0), ("store", 1), ("load", 0))
    totals = []
    for access, page in accesses:
        address = region.address + page * STRIDE
        done = await process.access(address, write=access == "store")
        machine.note(f"{access} at {address:#x}: {done.latency_ns} ns")
        for step, what, at, latency_ns in done.steps:
            machine.note(f"  {step:10} {what:14} {f'at {at:#x}' * bool(at):15} {latency_ns:4} ns")
        total_ns = sum(step.latency_ns for step in done.steps)
        machine.expect(total_ns == done.latency_ns, f"{access}: the steps are all there is")
        totals.append(total_ns)
    walk, store, hit = totals
    machine.expect(hit < walk == store, "a translation that is there saves the walk")
