"""Tests of the fault handler: each kind of fault, what it costs and what it leaves behind."""

from itertools import groupby

import numpy as np
import pytest

from kernelsim.actors.messages.node import DrainPages
from kernelsim.actors.space.fault_handler import KIND_NAMES
from kernelsim.config.latency import LatencySpec
from kernelsim.hw.tlb import TLB_TAG_SHIFT
from kernelsim.mm.core.mem import PAGEVEC_SIZE, PG_locked
from kernelsim.mm.core.vmstat import PGFAULT, PGMAJFAULT, PSWPIN
from kernelsim.mm.space.pgtable import (
    _PAGE_DIRTY,
    _PAGE_RW,
    is_swap_pte,
    pte_at,
    pte_pfn,
    pte_swap_slot,
)
from kernelsim.trace.registry import TRACEPOINTS
from tests.small_machine import PAGE, run, small_machine

COSTS = LatencySpec()
NO_BOOST = {"vm.watermark_boost_factor": 0}


class Peek:
    """Looks into one process's page tables."""

    def __init__(self, machine, process):
        self.kernel = machine.kernel
        self.number = process._process.mm.number

    def pte(self, address):
        """Return the entry of an address."""
        kernel = self.kernel
        return int(pte_at(*kernel.space, self.number, address // PAGE))

    def pfn(self, address):
        """Return the frame of an address."""
        return int(pte_pfn(self.pte(address)))

    def token(self, address):
        """Return what the program would read: from the page, or from its slot."""
        kernel, pte = self.kernel, self.pte(address)
        if not is_swap_pte(pte):
            return int(kernel.mem.pages.token[pte_pfn(pte)]) if pte else 0
        slot = pte_swap_slot(pte)
        cached = int(kernel.swap.cache_pfn[slot])
        if cached and not kernel.mem.pages.flags[cached] & PG_locked:  # locked: still being read
            return int(kernel.mem.pages.token[cached])
        return int(kernel.swap.token[slot])


def with_process(scenario, **options):
    """Run `scenario(machine, process, peek)`."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        return await scenario(machine, process, Peek(machine, process))

    return run(small_machine(**{"sysctl": NO_BOOST, **options}), main)


def kinds(done):
    """Return (kind, pages, major) of each row of faults of one kind, one event or several."""
    faults = [event.fields for event in done.log.named("ks_fault")]
    rows = groupby(faults, key=lambda fields: (fields["kind"], fields["major"]))
    return [(kind, sum(fields["nr_pages"] for fields in row), major) for (kind, major), row in rows]


def test_reading_fresh_memory_maps_the_zero_page():
    """All pages show the one page of zeros; no frame is taken."""

    async def scenario(machine, process, peek):
        region = await process.mmap(8 * PAGE)
        result = await process.touch(region)
        assert result.minflt == 8
        pfns = {peek.pfn(region.address + n * PAGE) for n in range(8)}
        assert pfns == {machine.kernel.zero_pfn}
        assert not peek.pte(region.address) & _PAGE_RW
        assert process.stats.rss_pages == 0
        assert peek.token(region.address) == 0

    assert kinds(with_process(scenario)) == [("anon", 8, False)]


def test_writing_fresh_memory_takes_a_frame_a_page():
    """Each of its own, writable, dirty, with what was written."""

    async def scenario(machine, process, peek):
        region = await process.mmap(8 * PAGE)
        result = await process.touch(region, write=True)
        assert result.minflt == 8
        addresses = [region.address + n * PAGE for n in range(8)]
        assert len({peek.pfn(address) for address in addresses}) == 8
        for address in addresses:
            assert peek.pte(address) & _PAGE_RW
            assert peek.pte(address) & _PAGE_DIRTY
            assert peek.token(address) >> 32 == process.pid
        assert process.stats.rss_pages == 8

    assert kinds(with_process(scenario)) == [("anon", 8, False)]


def test_writing_where_the_zero_page_is_mapped_faults_again():
    """The shared page is replaced, not written."""

    async def scenario(machine, process, peek):
        region = await process.mmap(4 * PAGE)
        await process.touch(region)
        result = await process.touch(region, write=True)
        assert result.minflt == 4
        assert peek.pfn(region.address) != machine.kernel.zero_pfn
        assert machine.mem.pages.token[machine.kernel.zero_pfn] == 0

    assert kinds(with_process(scenario)) == [("anon", 4, False), ("zero_wp", 4, False)]


def test_a_fault_counts_once_for_each_page_whatever_the_burst():
    """Also in /proc/vmstat."""

    async def scenario(machine, process, peek):
        region = await process.mmap("2M")
        await process.touch(region, write=True)
        assert machine.mem.vm_event[PGFAULT] == 512
        assert machine.mem.vm_event[PGMAJFAULT] == 0

    assert kinds(with_process(scenario)) == [("anon", 512, False)]


async def swap_out(machine, process):
    """Write a region, then so much more that most of it goes to swap; return it."""
    region = await process.mmap("8M")
    await process.touch(region, write=True)
    other = await process.mmap("14M")
    await process.touch(other, write=True)
    await machine.sleep("1s")
    return region, other


def in_swap(peek, region):
    """Return the addresses of a region whose page is on swap and in no frame."""
    addresses = range(region.address, region.address + region.length, PAGE)
    swap = peek.kernel.swap
    return [
        address for address in addresses
        if (pte := peek.pte(address)) and not pte & 1 and not swap.cache_pfn[pte >> 12]
    ]  # fmt: skip


def test_a_page_on_swap_comes_back_by_a_major_fault_that_waits_for_the_disk():
    """The fault takes at least the disk's latency, off the CPU; its neighbours come along."""

    async def scenario(machine, process, peek):
        region, _ = await swap_out(machine, process)
        address = in_swap(peek, region)[0]
        cpu_ns = process.stats.utime_ns + process.stats.stime_ns
        reads = machine.kernel.devices["vda"].statistics.pages_read
        offset = address - region.address
        result = await process.touch(region, offset=offset, length=PAGE)
        assert (result.minflt, result.majflt) == (0, 1)
        assert result.latency_ns > machine.spec.devices[0].read_latency_ns
        assert process.stats.io_ns > machine.spec.devices[0].read_latency_ns
        cpu_ns = process.stats.utime_ns + process.stats.stime_ns - cpu_ns
        assert cpu_ns < result.latency_ns // 4
        assert machine.kernel.devices["vda"].statistics.pages_read - reads >= 1
        assert machine.mem.vm_event[PSWPIN] >= 1

    done = with_process(scenario, swap="64M")
    assert kinds(done)[-1][0::2] == ("swap", True)


def test_a_page_that_was_read_ahead_costs_a_minor_fault():
    """What came with its neighbour is in the swap cache: no disk, no wait."""

    async def scenario(machine, process, peek):
        region, _ = await swap_out(machine, process)
        first = next(
            address for address in in_swap(peek, region)
            if address + PAGE in in_swap(peek, region)
        )  # fmt: skip
        offset = first - region.address
        # A row of major faults teaches the window to open.
        result = await process.touch(region, offset=offset, length=64 * PAGE)
        assert result.majflt > 0
        assert result.minflt > result.majflt
        slots = [peek.pte(first + n * PAGE) for n in range(64)]
        assert all(slot & 1 for slot in slots)

    with_process(scenario, swap="64M")


def test_what_a_page_holds_survives_swap():
    """Every page of every region reads as what was written last, on swap and back again."""

    async def scenario(machine, process, peek):
        def wrong(region, token):
            addresses = range(region.address, region.address + region.length, PAGE)
            return [address for address in addresses if peek.token(address) != token]

        region, other = await swap_out(machine, process)
        tokens = [peek.token(each.address) for each in (region, other)]
        assert len({*tokens, 0}) == 3
        assert len(in_swap(peek, region)) > 100
        assert wrong(region, tokens[0]) == wrong(other, tokens[1]) == []
        await process.touch(region)  # all of it comes back, the other goes
        assert wrong(region, tokens[0]) == wrong(other, tokens[1]) == []
        await process.touch(other, write=True)
        new = peek.token(other.address)
        assert new not in tokens
        assert wrong(region, tokens[0]) == wrong(other, new) == []
        return process.stats.pgmajfault

    assert with_process(scenario, swap="64M").result > 0


def test_a_clean_page_of_the_swap_cache_is_reused_when_written():
    """Read back, then written: one minor fault without a copy. It keeps its slot, now outdated."""

    async def scenario(machine, process, peek):
        region, _ = await swap_out(machine, process)
        address = in_swap(peek, region)[0]
        at = {"offset": address - region.address, "length": PAGE}
        await process.touch(region, **at)
        pfn = peek.pfn(address)
        assert not peek.pte(address) & _PAGE_RW
        result = await process.touch(region, write=True, **at)
        assert (result.minflt, result.majflt) == (1, 0)
        assert peek.pfn(address) == pfn
        assert peek.pte(address) & _PAGE_RW
        (slot,) = np.flatnonzero(machine.kernel.swap.cache_pfn == pfn)
        assert machine.kernel.swap.token[slot] != peek.token(address)

    done = with_process(scenario, swap="64M")
    assert kinds(done)[-1] == ("wp", 1, False)


def test_a_cpu_the_task_woke_up_on_is_remembered():
    """Who slept in a fault and woke up elsewhere touches the page there: flushes reach that CPU."""

    async def compute(process):
        region = await process.mmap(64 * PAGE)
        while True:
            await process.touch(region, write=True)

    async def scenario(machine, process, peek):
        sleeper = await machine.spawn("sleeper")
        peek = Peek(machine, sleeper)
        region, _ = await swap_out(machine, sleeper)
        mm, first = sleeper._process.mm, sleeper._process.task.cpu
        assert first.number == 0
        offset = in_swap(peek, region)[0] - region.address
        await machine.spawn("busy", compute, cpu=0)  # takes the CPU when it is free
        mm.cpu_bitmap = 1 << 0
        result = await sleeper.touch(region, offset=offset, length=PAGE)
        assert result.majflt == 1
        second = sleeper._process.task.cpu
        assert second is not first
        assert np.any(second.tlb.tag >> TLB_TAG_SHIFT == mm.ctx_id)
        assert mm.cpu_bitmap >> second.number & 1
        await sleeper.madvise_dontneed(region)
        assert not np.any(second.tlb.tag >> TLB_TAG_SHIFT == mm.ctx_id)

    with_process(scenario, cpus=("0-1",), swap="64M")


@pytest.mark.parametrize("nr_pages", [1, 7, 512])
def test_a_burst_costs_as_much_as_its_pages_one_by_one(nr_pages):
    """The sum of the steps of each page's fault; lru_lock is held for each full folio_batch."""
    each_ns = (
        COSTS.fault_entry_ns
        + COSTS.zone_lock_hold_page_ns
        + COSTS.page_zeroing_ns
        + COSTS.pte_set_ns
        + 4 * COSTS.page_walk_step_ns
        + COSTS.memory_local_ns
    )

    async def scenario(machine, process, peek):
        region = await process.mmap(nr_pages * PAGE)
        await process.touch(region, write=True)
        await process.madvise_dontneed(region)  # leaves the page tables
        await machine.kernel.nodes[0].ref.ask(DrainPages(0, 0, "test"))  # and no page to hand
        nr_drained = (int(machine.mem.lru_batch[0, 0]) + nr_pages) // PAGEVEC_SIZE * PAGEVEC_SIZE
        result = await process.touch(region, write=True)
        assert result.minflt == nr_pages
        lru_ns = nr_drained * COSTS.lru_lock_hold_page_ns
        assert result.latency_ns == nr_pages * each_ns + lru_ns

    with_process(scenario)


def test_the_kinds_of_a_burst_are_those_its_tracepoint_names():
    """The documentation of ks_fault lists the kinds that the fault handler can say."""
    fields = {field.name: field.doc for field in TRACEPOINTS["ks_fault"].fields}
    assert ", ".join(KIND_NAMES) == fields["kind"]
