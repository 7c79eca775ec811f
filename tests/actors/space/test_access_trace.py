"""The trace of accesses: every step, at addresses that hold what it reads."""

import attrs
import pytest

from kernelsim.mm.space.pgtable import get_pte, pte_pfn
from kernelsim.report.event_filter import EventFilter
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE
from tests.memory_sink import MemorySink
from tests.small_machine import PAGE, OpenMachine, run, small_machine

pytestmark = pytest.mark.mission("P1")

TABLES = {
    "x86_64": ("PGD", "PUD", "PMD", "PTE"),
    "i386pae": ("PGD", "PMD", "PTE"),
    "i386": ("PGD", "PTE"),
}


def entry_at(machine, address):
    """Return the entry of a page table at a physical address, looked up by its frame."""
    pt = machine.kernel.pool.pt
    row = pt.row_pfn.tolist().index(address >> PAGE_SHIFT)
    per_table = pt.entry.shape[1]
    return get_pte(pt.entry, row, address % PAGE_SIZE * per_table // PAGE_SIZE)


@pytest.mark.parametrize("arch", TABLES)
def test_each_entry_that_a_walk_reads_leads_to_the_next(arch):
    """From the top table to the frame, where the data is; one access of each kind of machine."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGE)
        first = await process.access(region.address + 9, write=True)
        steps = first.steps[[step.step for step in first.steps].index("fault") + 1 :]
        walk = [step for step in steps if step.step == "walk"]
        assert [step.what for step in walk] == [f"{table} entry" for table in TABLES[arch]]
        found = [pte_pfn(entry_at(machine, step.address)) for step in walk]
        assert found == [step.address >> PAGE_SHIFT for step in (*walk[1:], steps[-1])]
        assert steps[-1].address % PAGE == 0  # accesses are of pages
        return first

    first = run(small_machine(arch=arch), main).result
    assert sum(step.latency_ns for step in first.steps) == first.latency_ns


def traced(*, trace):
    """Return the events of an access and the time at the end, with the trace on or off."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(3 * PAGE)
        await process.touch(region, write=True)
        await process.touch(region)
        return machine.now_ns

    sink = MemorySink(EventFilter.parse(["ks_mem_access"] if trace else []))
    machine = OpenMachine(small_machine(), sink=sink)
    return machine.run(main), sink.named("ks_mem_access")


def test_the_trace_is_off_unless_asked_for_and_changes_no_time():
    """With it each of the six accesses is there, in steps that follow each other."""
    end_ns, events = traced(trace=False)
    assert events == []
    with_trace_ns, events = traced(trace=True)
    assert with_trace_ns == end_ns
    loads = [event for event in events if event.fields["access"] == "load"]
    assert len({event.fields["vaddr"] for event in loads}) == 3
    ends = [event.t_ns + event.fields["latency_ns"] for event in loads]
    assert [event.t_ns for event in loads[1:]] == ends[:-1]
    assert attrs.astuple(loads[0])[2] == "ks_mem_access"
