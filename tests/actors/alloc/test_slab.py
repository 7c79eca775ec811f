"""Slabs of a machine at work: which of its pages kernel objects take, and give back."""

import numpy as np
import pytest

from kernelsim.actors.alloc import slab
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.mm.core.slab_cache import (
    BIO,
    BUFFER_HEAD,
    NO_PAGE,
    RADIX_TREE_NODE,
    SB_PFN,
    SC_CPU_MAX,
    SC_MIN_PARTIAL,
    SC_NR_INUSE,
    SC_NR_SLABS,
    SLAB_EMPTY,
)
from kernelsim.mm.core.vmstat import NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE
from kernelsim.workload import MachineHandle
from tests.small_machine import PAGE, available, pages_of_slabs, run, small_machine

NR_PAGES = 2048
FILES = {"/data": f"{NR_PAGES * 4}K"}


def reclaimable(machine):
    """Return the pages of reclaimable slabs, and the objects and slabs of each such cache."""
    cache = machine.mem.slabs.cache
    return int(machine.mem.node_stat[0, NR_SLAB_RECLAIMABLE]), [
        (int(cache[number, SC_NR_INUSE]), int(cache[number, SC_NR_SLABS]))
        for number in (RADIX_TREE_NODE, BUFFER_HEAD)
    ]


@pytest.mark.mission("R4")
def test_cached_pages_take_nodes_and_written_ones_buffer_heads():
    """64 pages share a node, 14 nodes 8 KiB; a page that was only read has no buffer head."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        fd = await process.open("/data")
        await process.read(fd, NR_PAGES * PAGE, offset=0)
        seen = [reclaimable(machine)]
        await process.write(fd, 100 * PAGE, offset=0)
        seen.append(reclaimable(machine))
        await process.fsync(fd)
        await process.fadvise(fd, "dontneed")
        seen.append(reclaimable(machine))
        return seen

    read, written, dropped = run(small_machine(files=FILES, memory="32M"), main).result

    assert read == (6, [(NR_PAGES // 64 + 1, 3), (0, 0)])
    assert written == (9, [(NR_PAGES // 64 + 1, 3), (100, 3)])
    assert dropped[1] == [(0, 3), (0, 3)]  # empty slabs are kept, as many as there may be


def test_slabs_that_are_not_kept_give_their_pages_back():
    """Of 29 slabs of buffer heads 13 stay without one: the current, 7 of a CPU and 5 of the node.

    The others are pages like any, which the next request gets.
    """

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        fd = await process.open("/data")
        await process.write(fd, 1100 * PAGE, offset=0)
        await process.fsync(fd)
        seen = [(*reclaimable(machine), available(machine))]
        await process.fadvise(fd, "dontneed")
        return [*seen, (*reclaimable(machine), available(machine))]

    before, after = run(small_machine(files=FILES, memory="32M"), main).result

    assert before[:2] == (4 + 29, [(1100 // 64 + 2, 2), (1100, 29)])
    assert after[:2] == (4 + 13, [(0, 2), (0, 13)])
    assert after[2] - before[2] == 1100


@pytest.mark.mission("R6")
def test_swap_takes_nodes_and_bios():
    """Pages on their way to swap have nodes, which stay, and bios, which end with the writes."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(NR_PAGES * PAGE)
        await process.touch(region, write=True)
        # Memory is left: bios are not to take reserves.
        await process.syscall("madvise", region, "pageout")
        bios = [int(machine.mem.slabs.cache[BIO, SC_NR_INUSE])]
        await machine.sleep("1s")
        bios.append(int(machine.mem.slabs.cache[BIO, SC_NR_INUSE]))
        nodes = int(machine.mem.slabs.cache[RADIX_TREE_NODE, SC_NR_INUSE])
        unreclaimable = int(machine.mem.node_stat[0, NR_SLAB_UNRECLAIMABLE])
        used = np.flatnonzero(machine.kernel.swap.node[:, 0])
        return bios, nodes, len(used), unreclaimable, pages_of_slabs(machine)

    spec = small_machine(memory="16M", swap="32M")
    bios, nodes, used, unreclaimable, nr_pages = run(spec, main).result

    assert bios[0] > bios[1] == 0
    assert nodes == used > 15
    assert 0 < unreclaimable < nr_pages


@pytest.mark.parametrize("call", ["mlock", "madvise", "swapoff"])
def test_calls_that_take_pages_off_swap_give_slabs_back(call):
    """Where no empty slab is to be kept, none waits for a later task to give its pages back."""

    async def main(machine):
        slabs = machine.mem.slabs
        slabs.cache[:, [SC_CPU_MAX, SC_MIN_PARTIAL]] = 0
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(NR_PAGES * PAGE)
        await process.touch(region, write=True)
        await process.syscall("madvise", region, "pageout")
        await machine.sleep("1s")
        nodes = int(slabs.cache[RADIX_TREE_NODE, SC_NR_INUSE])
        words = {"mlock": (region,), "madvise": (region, "free"), "swapoff": ("/dev/vda",)}
        await process.syscall(call, *words[call])
        return nodes, int(slabs.cache[RADIX_TREE_NODE, SC_NR_INUSE]), int(slabs.state[SLAB_EMPTY])

    nodes, left, waiting = run(small_machine(memory="16M", swap="32M"), main).result
    assert (nodes > 15, left, waiting) == (True, 0, 0)


def test_objects_without_memory_lie_on_no_page(monkeypatch):
    """Where not one page is to be had the object exists all the same, and nothing is lost."""

    async def nothing(*_):
        return 0

    async def main(machine):
        monkeypatch.setattr("kernelsim.actors.alloc.slab._alloc_block", nothing)
        process = await machine.spawn("p", cpu=0)
        await process.touch(await process.mmap(4500 * PAGE), write=True)
        slabs = machine.mem.slabs
        others = slabs.cache[[RADIX_TREE_NODE, BUFFER_HEAD, BIO]]  # those of the process were paid
        paid = int(others[:, SC_NR_SLABS].sum())
        return paid, bool((slabs.row[:, SB_PFN] == NO_PAGE).any())

    paid, without = run(small_machine(memory="16M", swap="32M"), main).result
    assert paid == 0
    assert without


def test_a_long_write_opens_most_of_its_slabs_inside_bursts(monkeypatch):
    """Only slabs whose pages are not at hand take messages: here one in ten or so."""
    nr_by_messages = 0
    new_slab = slab._new_slab

    async def counted(current, row):
        nonlocal nr_by_messages
        nr_by_messages += 1
        await new_slab(current, row)

    async def main(machine):
        before = machine.vmstat["nr_slab_reclaimable"]
        process = await machine.spawn("writer")
        await process.write(await process.open("/srv/new", create=True), "16M")
        return machine.vmstat["nr_slab_reclaimable"] - before

    monkeypatch.setattr(slab, "_new_slab", counted)
    nr_pages = MachineHandle(Machine(load_machine("files-512m"))).run(main)
    assert nr_pages > 100
    assert nr_by_messages < nr_pages // 4
