"""Grow, shrink and move mappings.

Linux: mm/mremap.c, 6.1.

Interface: `do_mremap` decides and changes the mappings. It says what is unmapped, and whether pages
are to be moved: the caller has `move_page_tables` move their entries. Until `end_move` says where
they are now, there are two mappings of them.
Units: addresses and lengths in bytes; pages.
"""

import errno
from typing import Final

import attrs

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Mem, PG_anon
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, VmChange, page_align
from kernelsim.mm.space.pgtable import (
    _PAGE_PRESENT,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    maps_page,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.rmap import find_owner
from kernelsim.mm.space.vm_flags import MAP_FIXED, MAP_SHARED, VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4
SPARE_MAPPINGS: Final = 3  # that cutting out what is moved may need
_PINNED: Final = VmFlag.VM_DONTEXPAND | VmFlag.VM_PFNMAP
_LOCKS: Final = VmFlag.VM_LOCKED | VmFlag.VM_LOCKONFAULT


@attrs.frozen
class Move:
    """Pages whose entries go to another place.

    Attributes:
        vpn: First page.
        nr_pages: How many.
        new_vpn: Where the first goes.
    """

    vpn: int
    nr_pages: int
    new_vpn: int


@attrs.frozen
class TwoPlaces:
    """A mapping whose pages are being moved: where it is and where it is to be, in bytes.

    Attributes:
        flags: Of both.
        address: Where it was.
        old_len: How long.
        new_address: Where its copy is.
        new_len: How long that is.
        keeps_old: It stays where it was, without pages.
    """

    flags: VmFlag
    address: int
    old_len: int
    new_address: int
    new_len: int
    keeps_old: bool

    @property
    def nr_shared(self) -> int:
        """Pages that are promised once, and in two mappings."""
        is_charged = self.flags & VmFlag.VM_ACCOUNT and not self.keeps_old
        return self.old_len >> PAGE_SHIFT if is_charged else 0


@attrs.define
class Remap:
    """What a call did to an address space, in this order.

    Attributes:
        result: The address, or a negative errno.
        cleared: Ranges that were unmapped before anything moved.
        move: What is to be moved.
        places: Of the mapping that it is of.
        unmapped: What was unmapped after that.
        populate: Bytes [start, end) to be brought in, since the mapping is locked.
    """

    result: int = 0
    cleared: list[VmChange] = attrs.field(factory=list)
    move: Move | None = None
    places: TwoPlaces | None = None
    unmapped: VmChange | None = None
    populate: tuple[int, int] = (0, 0)


def do_mremap(
    mm: MmStruct, address: int, old_len: int, new_len: int, flags: int, new_address: int
) -> Remap:
    """Change the length of a mapping, or its place.

    Source: Linux 6.1 mm/mremap.c:mremap
    """
    known = MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP
    may_move = flags & MREMAP_MAYMOVE
    if flags & ~known or (flags & MREMAP_FIXED and not may_move):
        return Remap(-errno.EINVAL)
    if flags & MREMAP_DONTUNMAP and (not may_move or old_len != new_len):
        return Remap(-errno.EINVAL)
    if address % PAGE_SIZE:
        return Remap(-errno.EINVAL)
    old_len, new_len = page_align(old_len) % (1 << 64), page_align(new_len) % (1 << 64)
    if not new_len:
        return Remap(-errno.EINVAL)
    vma = mm.map.find_vma_intersection(address, address + 1)
    if vma is None:
        return Remap(-errno.EFAULT)
    remap = Remap()
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        remap.result = _mremap_to(mm, remap, address, old_len, new_address, new_len, flags)
    elif old_len >= new_len:
        remap.result = address
        if old_len > new_len:
            gone = mm.munmap(address + new_len, old_len - new_len)
            remap.cleared.append(gone)
            remap.result = gone.result if gone.failed else address
    else:
        remap.result = _grow(mm, remap, address, old_len, new_len, flags)
    return remap


def _grow(mm: MmStruct, remap: Remap, address: int, old_len: int, new_len: int, flags: int) -> int:
    """Let a mapping grow, where it is or elsewhere; return its address or a negative errno."""
    vma = vma_to_resize(mm, address, old_len, new_len, flags)
    if isinstance(vma, int):
        return vma
    if old_len == vma.end - address and _vma_expandable(mm, vma, new_len - old_len):
        return _expand(mm, remap, vma, address, new_len - old_len)
    if not flags & MREMAP_MAYMOVE:
        return -errno.ENOMEM
    kind = MAP_SHARED if vma.flags & VmFlag.VM_MAYSHARE else 0
    pgoff = vma.pgoff + ((address - vma.start) >> PAGE_SHIFT)
    where = mm.get_unmapped_area(0, new_len, kind, vma.file, pgoff)
    if where < 0:
        return where
    return _move_vma(mm, remap, vma, address, old_len, new_len, where, flags)


def vma_to_resize(
    mm: MmStruct, address: int, old_len: int, new_len: int, flags: int
) -> VmArea | int:
    """Return the mapping that may get another length, or a negative errno.

    Source: Linux 6.1 mm/mremap.c:vma_to_resize
    """
    vma = mm.map.find_vma_intersection(address, address + 1)
    if vma is None:
        return -errno.EFAULT
    if not old_len and not vma.flags & (VmFlag.VM_SHARED | VmFlag.VM_MAYSHARE):
        return -errno.EINVAL
    if flags & MREMAP_DONTUNMAP and vma.flags & _PINNED:
        return -errno.EINVAL
    if old_len > vma.end - address:
        return -errno.EFAULT
    if new_len == old_len:
        return vma
    pgoff = vma.pgoff + ((address - vma.start) >> PAGE_SHIFT)
    if pgoff + (new_len >> PAGE_SHIFT) >= 1 << 64:
        return -errno.EINVAL
    if vma.flags & _PINNED:
        return -errno.EFAULT
    nr_more = (new_len - old_len) >> PAGE_SHIFT
    if vma.flags & VmFlag.VM_LOCKED and not mm.may_lock(nr_more):
        return -errno.EAGAIN
    return vma if mm.may_expand_vm(vma.flags, nr_more) else -errno.ENOMEM


def _vma_expandable(mm: MmStruct, vma: VmArea, delta: int) -> bool:
    """Tell whether there is room for a mapping to grow where it is.

    Source: Linux 6.1 mm/mremap.c:vma_expandable
    """
    end = vma.end + delta
    return end <= mm.map.task_size and mm.map.find_vma_intersection(vma.end, end) is None


def _expand(mm: MmStruct, remap: Remap, vma: VmArea, address: int, delta: int) -> int:
    """Let a mapping grow where it is, and become one with the next if it reaches that."""
    nr_pages = delta >> PAGE_SHIFT
    if vma.flags & VmFlag.VM_ACCOUNT and not mm.charge(nr_pages):
        return -errno.ENOMEM
    more = attrs.evolve(vma, start=vma.end, end=vma.end + delta, pgoff=vma.pgoff + vma.nr_pages)
    if mm.map.vma_merge(more) is None:
        if vma.flags & VmFlag.VM_ACCOUNT:
            mm.commit.uncharge(nr_pages)
        return -errno.ENOMEM
    mm.vm_stat_account(vma.flags, nr_pages)
    mm.count_locked(vma.flags, nr_pages)
    if vma.flags & VmFlag.VM_LOCKED:
        remap.populate = (more.start, more.end)
    return address


def _mremap_to(
    mm: MmStruct, remap: Remap, address: int, old_len: int, new_address: int, new_len: int,
    flags: int,
) -> int:  # fmt: skip
    """Move a mapping to a place of the program's choice; return that or a negative errno.

    Source: Linux 6.1 mm/mremap.c:mremap_to
    """
    task_size = mm.map.task_size
    if new_address % PAGE_SIZE or new_len > task_size or new_address > task_size - new_len:
        return -errno.EINVAL
    if address + old_len > new_address and new_address + new_len > address:
        return -errno.EINVAL
    if len(mm.map) + 2 >= mm.commit.sysctl.vm_max_map_count - SPARE_MAPPINGS:
        return -errno.ENOMEM
    clear = []
    if flags & MREMAP_FIXED:
        clear.append((new_address, new_len))
    if old_len > new_len:
        clear.append((address + new_len, old_len - new_len))
        old_len = new_len
    for start, length in clear:
        gone = mm.munmap(start, length)
        remap.cleared.append(gone)
        if gone.failed:
            return gone.result
    vma = vma_to_resize(mm, address, old_len, new_len, flags)
    if isinstance(vma, int):
        return vma
    if flags & MREMAP_DONTUNMAP and not mm.may_expand_vm(vma.flags, old_len >> PAGE_SHIFT):
        return -errno.ENOMEM
    kind = MAP_FIXED if flags & MREMAP_FIXED else 0
    kind |= MAP_SHARED if vma.flags & VmFlag.VM_MAYSHARE else 0
    pgoff = vma.pgoff + ((address - vma.start) >> PAGE_SHIFT)
    where = mm.get_unmapped_area(new_address, new_len, kind, vma.file, pgoff)
    if where < 0:
        return where
    return _move_vma(mm, remap, vma, address, old_len, new_len, where, flags)


def _move_vma(
    mm: MmStruct, remap: Remap, vma: VmArea, address: int, old_len: int, new_len: int,
    new_address: int, flags: int,
) -> int:  # fmt: skip
    """Make a copy of a mapping elsewhere, to which its pages are to be moved.

    Source: Linux 6.1 mm/mremap.c:move_vma
    """
    if len(mm.map) >= mm.commit.sysctl.vm_max_map_count - SPARE_MAPPINGS:
        return -errno.ENOMEM
    if mm.is_unsplittable(address) or mm.is_unsplittable(address + old_len):
        return -errno.EINVAL
    keeps_old = bool(flags & MREMAP_DONTUNMAP)
    is_charged = vma.flags & VmFlag.VM_ACCOUNT
    if is_charged and not mm.charge((new_len - (0 if keeps_old else old_len)) >> PAGE_SHIFT):
        return -errno.ENOMEM
    copy_vma(mm, vma, address, new_address, new_len, keeps_old=keeps_old)
    remap.move = Move(address >> PAGE_SHIFT, old_len >> PAGE_SHIFT, new_address >> PAGE_SHIFT)
    remap.places = TwoPlaces(vma.flags, address, old_len, new_address, new_len, keeps_old)
    mm.commit.in_flight_pages -= remap.places.nr_shared
    mm.vm_stat_account(vma.flags, new_len >> PAGE_SHIFT)
    return new_address


def end_move(mm: MmStruct, remap: Remap, *, is_done: bool) -> None:
    """Unmap the place that the pages of a mapping have left, or that they have not come to.

    Source: Linux 6.1 mm/mremap.c:move_vma
    """
    places = remap.places
    assert places is not None, "something was to be moved"
    mm.commit.in_flight_pages += places.nr_shared
    hiwater = mm.hiwater_vm
    if not is_done:
        remap.result = -errno.ENOMEM
        remap.unmapped = mm.munmap(places.new_address, places.new_len)
    elif places.keeps_old:
        _leave_old(mm, places.address, places.old_len)
        return
    elif places.old_len:
        remap.unmapped = mm.munmap(places.address, places.old_len)
    if remap.unmapped is not None:
        assert not remap.unmapped.failed, "there is room for the cuts that unmapping needs"
        mm.commit.recharge(places.nr_shared)  # what was promised for the pages goes with them
        mm.hiwater_vm = hiwater
    if places.flags & VmFlag.VM_LOCKED:
        mm.locked_vm += places.new_len >> PAGE_SHIFT
        if is_done and places.new_len > places.old_len:
            end = places.new_address + places.new_len
            remap.populate = (places.new_address + places.old_len, end)


def copy_vma(
    mm: MmStruct, vma: VmArea, address: int, new_address: int, new_len: int, *, keeps_old: bool
) -> None:
    """Make a copy of part of a mapping elsewhere, joined with its new neighbours if that can be.

    One that never held a page gets page numbers of its new place. One beside a mapping that stays
    (MREMAP_DONTUNMAP) joins nothing, as recorded programs show.

    Source: Linux 6.1 mm/mmap.c:copy_vma
    """
    pgoff = vma.pgoff + ((address - vma.start) >> PAGE_SHIFT)
    if vma.is_anonymous and vma.anon_vma is None:
        pgoff = new_address >> PAGE_SHIFT
    copy = attrs.evolve(vma, start=new_address, end=new_address + new_len, pgoff=pgoff)
    is_beside = vma.end == copy.start or vma.start == copy.end
    if (keeps_old and is_beside) or mm.map.vma_merge(copy) is None:
        mm.map.place(copy)


def _leave_old(mm: MmStruct, address: int, old_len: int) -> None:
    """Leave the place that pages have left: it is not locked any more, and joins nothing for that.

    Source: Linux 6.1 mm/mremap.c:move_vma
    """
    vma = mm.map.find_vma_intersection(address, address + 1)
    assert vma is not None, "the old mapping stays"
    left = attrs.evolve(vma.part(address, address + old_len), flags=vma.flags & ~_LOCKS)
    is_whole = vma.start == address and vma.end == address + old_len
    if is_whole:
        left = attrs.evolve(left, anon_vma=None, anon_chain=())
    if is_whole or vma.flags & _LOCKS:
        mm.map.place(left)


@leaf
def move_page_tables(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, new_vpn: int
) -> tuple[int, int]:
    """Move entries to other pages, up to one whose new place lacks a table of PTEs.

    Returns:
        Pages done, and how many entries were present.

    Source: Linux 6.1 mm/mremap.c:move_page_tables, :move_ptes
    """
    entry, pages, top = pt.entry, mem.pages, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    done, present = 0, 0
    while done < nr:
        row, end = walk(entry, pt.state, pages.private, top, vpn + done)
        if row == 0:
            done = min(nr, end - vpn)
            continue
        to = new_vpn + done
        new_row, _ = walk(entry, pt.state, pages.private, top, to)
        if new_row == 0:  # made also where there is nothing to be moved
            break
        pte = get_pte(entry, row, (vpn + done) & mask)
        if pte:
            entry[row, (vpn + done) & mask] = 0
            entry[new_row, to & mask] = pte
            present += pte & _PAGE_PRESENT
            if maps_page(pte) and pages.flags[pte_pfn(pte)] & PG_anon:
                move_rmap(mem, pt, mms, mm, pte_pfn(pte), to)
        done += 1
    return done, present


@leaf
def move_rmap(mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int, vpn: int) -> None:
    """Note where an anonymous page is mapped now; one that others map, too, is found by them."""
    pages = mem.pages
    if pages.mapcount[pfn] > 1 and pages.mapping[pfn] == mm:
        find_owner(mem, pt, mms, mm, pfn)
    elif pages.mapcount[pfn] == 1:
        pages.mapping[pfn] = mm
        pages.index[pfn] = vpn
