"""The invariants of mapped pages of files: each is broken once and seen."""

import numpy as np
import pytest

from kernelsim.actors.space.file_fault import FileFault
from kernelsim.check.machine import check_machine
from kernelsim.check.mapped_files import check_chains
from kernelsim.check.record import observe
from kernelsim.mm.core.mem import PG_dirty, PG_uptodate
from kernelsim.mm.core.vmstat import NR_MAPPED
from kernelsim.mm.space.i_mmap import FV_NR_PAGES
from kernelsim.mm.space.pgtable import (
    _PAGE_RW,
    MM_FILEPAGES,
    PT_BITS,
    pte_at,
    pte_pfn,
    pte_span,
)
from tests.actors.space.test_file_fault import cached, machine_with_file, mapper, token_of
from tests.small_machine import PAGE, run


class Place:
    """A page of a file where a process has mapped it."""

    def __init__(self, kernel, mapping):
        self.kernel = kernel
        self.vpn = (mapping.address >> 12) + 3
        self.mm = next(mm for mm in kernel.mms.by_number.values() if mm.map.nr_of_files)
        self.pfn = pte_pfn(pte_at(*kernel.space, self.mm.number, self.vpn))
        self.flags = kernel.mem.pages.flags

    def change_pte(self, change):
        """Change its entry."""
        pt = self.kernel.pool.pt
        row, _ = pte_span(*self.kernel.space, self.mm.number, self.vpn)
        at = self.vpn & ((1 << int(pt.state[PT_BITS])) - 1)
        pt.entry[row, at] = np.uint64(change(int(pt.entry[row, at])))


def broken(how, *, shared):
    """Map a file, break something, and return what is found wrong."""

    async def main(machine):
        observe(machine.kernel)
        process, mapping = await mapper(machine, shared=shared)
        await cached(process)
        await process.touch(mapping)
        assert check_machine(machine.kernel) == []
        how(Place(machine.kernel, mapping))
        return check_machine(machine.kernel)

    return run(machine_with_file(), main, sound=False).result


def another_page(place):
    """The entry names the next page of the file."""
    other = pte_pfn(pte_at(*place.kernel.space, place.mm.number, place.vpn + 1))
    place.change_pte(lambda pte: pte & ~(0xFFFF_FFFF << 12) | other << 12)


def empty(place):
    """The page holds nothing yet."""
    place.flags[place.pfn] &= ~np.uint32(PG_uptodate)


def writable(place):
    """Stores go through and are not noticed."""
    place.change_pte(lambda pte: pte | _PAGE_RW)


def writable_and_dirty(place):
    """Stores go through, as to a shared mapping."""
    writable(place)
    place.flags[place.pfn] |= np.uint32(PG_dirty)


def content(place):
    """The page holds something else."""
    place.kernel.mem.pages.token[place.pfn] += 1


def forgotten(place):
    """The file does not lead to its mapping any more."""
    place.kernel.mms.i_mmap.first[1] = 0


def shorter(place):
    """The file leads to a mapping that has a page less."""
    place.kernel.mms.i_mmap.vma[place.kernel.mms.i_mmap.first[1], FV_NR_PAGES] -= 1


def more_mapped(place):
    """nr_mapped is one too many."""
    place.kernel.mem.node_stat[0, NR_MAPPED] += 1


def more_resident(place):
    """The process has a page of a file too many."""
    place.kernel.mms.mms.rss[place.mm.number, MM_FILEPAGES] += 1


@pytest.mark.parametrize(
    ("how", "shared", "text"),
    [
        (another_page, False, "is not the page of the file that its mapping shows there"),
        (empty, False, "is mapped and holds nothing yet"),
        (writable, True, "may be stored to and is clean"),
        (writable_and_dirty, False, "a page of a file is writable in private"),
        (content, True, "holds something else than its file"),
        (forgotten, False, "leads to 0 mappings, 1 show it"),
        (shorter, False, "leads to 1 mappings, 1 show it"),
        (more_mapped, False, "nr_mapped is 513, counted 512"),
        (more_resident, False, "MM_FILEPAGES is 513, its entries say 512"),
    ],
)
def test_a_broken_mapping_is_found(how, shared, text):
    """Each fault is told in a line of its own."""
    found = broken(how, shared=shared)
    assert any(text in line for line in found), found


def test_a_mapping_that_may_be_being_unmapped_is_no_fault_without_a_record():
    """Its file leads to it until its entries are gone; but never twice to one that is there."""

    async def main(machine):
        await mapper(machine)
        kernel = machine.kernel
        mm = next(mm for mm in kernel.mms.by_number.values() if mm.map.nr_of_files)
        vma = next(vma for vma in mm.map if vma.file_number)
        kernel.mms.vma_link_file(mm.number, vma)
        twice = list(check_chains(kernel, None))
        kernel.mms.vma_unlink_file(mm.number, vma)
        mm.map.unmap(vma.start, vma.end)
        return twice, list(check_chains(kernel, None))

    found = run(machine_with_file(), main, sound=False).result
    assert found == (["file 1 leads to 2 mappings, 1 show it"], [])


def test_a_store_is_known_when_it_is_done_though_its_fault_goes_on(monkeypatch):
    """What another writes while the process still pauses for dirty pages comes after its store."""

    async def pause(fault_handler, _fault):
        await fault_handler._kernel.engine.sleep(1_000_000)

    monkeypatch.setattr(FileFault, "balance_dirty", pause)

    async def main(machine):
        observe(machine.kernel)

        async def store(process):
            fd = await process.open("/data")
            await process.touch(await process.mmap(PAGE, fd=fd, shared=True), write=True)

        first = await machine.spawn("first", store, cpu=0)
        other = await machine.spawn("other", cpu=1)
        fd = await other.open("/data")
        while not machine.vmstat["nr_dirty"]:
            await machine.sleep("10us")
        await other.write(fd, PAGE)
        await first.wait()
        await cached(other)  # which compares
        return token_of(machine, 0)

    assert run(machine_with_file(cpus=("0-1",)), main).result
