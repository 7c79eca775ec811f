"""Fork: copy an address space, then its page tables; pages are copied when either side writes.

Linux: kernel/fork.c:dup_mmap, mm/rmap.c:anon_vma_fork, mm/memory.c:copy_page_range, 6.1.

Interface: `dup_mmap` copies the mappings. Then, for each that `needs_copy`, `next_table` finds what
the parent has tables for, `install_tables` builds them for the child and `copy_page_range` copies.
The parent's TLB entries are flushed before either runs again. Later writes fault as FAULT_WP.
Units: pages.
"""

from collections import Counter
from collections.abc import Iterator

import attrs
import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, Mem, PG_anon, PG_anon_exclusive
from kernelsim.mm.space.anon_vma import AnonVma
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_RW,
    MM_ANONPAGES,
    MM_SWAPENTS,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_swap_pte,
    maps_page,
    pte_pfn,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.space.rmap_file import mm_counter_file, page_add_file_rmap
from kernelsim.mm.space.vm_flags import VmFlag

_LOCKS = VmFlag.VM_LOCKED | VmFlag.VM_LOCKONFAULT
_COPIED = (
    "mmap_base", "start_code", "end_code", "start_data", "end_data", "start_brk", "brk",
    "start_stack", "stack_top", "vdso_draw", "total_vm", "data_vm", "exec_vm", "stack_vm",
    "cap_sys_admin", "cap_ipc_lock", "cap_sys_rawio",
)  # fmt: skip


def dup_mmap(registry: MmRegistry, parent: MmStruct, child: MmStruct) -> bool:
    """Give a fresh child its parent's mappings, without pages; False if they may not be promised.

    What the child has got until then it gives back when it ends.

    Source: Linux 6.1 kernel/fork.c:dup_mmap, :mm_init
    """
    for name in _COPIED:
        setattr(child, name, getattr(parent, name))
    child.rlimits = attrs.evolve(parent.rlimits)
    registry.join_fork(parent=parent, child=child)
    with child.map.tree.bulk():
        return _dup_areas(registry, parent, child)


def _dup_areas(registry: MmRegistry, parent: MmStruct, child: MmStruct) -> bool:
    is_promised = True
    for vma in list(parent.map):
        leaves_out = bool(vma.flags & VmFlag.VM_DONTCOPY) or not is_promised
        if not leaves_out and vma.flags & VmFlag.VM_ACCOUNT and not parent.charge(vma.nr_pages):
            is_promised, leaves_out = False, True
        if leaves_out:
            child.vm_stat_account(vma.flags, -vma.nr_pages)
            continue
        copy = attrs.evolve(vma, flags=vma.flags & ~_LOCKS)
        if copy.flags & VmFlag.VM_WIPEONFORK:
            copy = attrs.evolve(copy, anon_vma=None, anon_chain=())
        else:
            copy = anon_vma_fork(registry, copy)
        child.map.place(copy)
    return is_promised


def anon_vma_fork(registry: MmRegistry, vma: VmArea) -> VmArea:
    """Return a child's copy of a mapping with its own anon_vma, besides those of its parent.

    One of an ancestor is taken over that no mapping has for its own any more.

    Source: Linux 6.1 mm/rmap.c:anon_vma_fork, :anon_vma_clone
    """
    if vma.anon_vma is None:
        return vma
    own = Counter(area.anon_vma for area in _areas(registry))
    living = {anon_vma for area in _areas(registry) for anon_vma in area.anon_chain}
    children = Counter(anon_vma.parent or anon_vma for anon_vma in living)
    chain = vma.anon_chain
    for anon_vma in chain:
        if not own[anon_vma] and children[anon_vma] < 2:
            return attrs.evolve(vma, anon_vma=anon_vma)
    fresh = AnonVma(parent=vma.anon_vma)
    return attrs.evolve(vma, anon_vma=fresh, anon_chain=(fresh, *chain))


def _areas(registry: MmRegistry) -> Iterator[VmArea]:
    for mm in registry.by_number.values():
        yield from mm.map


def needs_copy(vma: VmArea) -> bool:
    """Tell whether a child gets entries for the pages of a mapping, or finds them by faults.

    Source: Linux 6.1 mm/memory.c:vma_needs_copy
    """
    if vma.flags & (VmFlag.VM_DONTCOPY | VmFlag.VM_WIPEONFORK):
        return False
    return vma.anon_vma is not None or bool(vma.flags & (VmFlag.VM_PFNMAP | VmFlag.VM_MIXEDMAP))


@leaf
def next_table(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, end: int) -> tuple[int, int]:
    """Find the next pages in [vpn, end) that have a table of PTEs.

    Returns:
        First vpn and number of pages, all of one table; (end, 0) when there is none.
    """
    top = int(mms.pgd_row[mm])
    while vpn < end:
        row, behind = walk(pt.entry, pt.state, mem.pages.private, top, vpn)
        if row:
            return vpn, min(behind, end) - vpn
        vpn = behind
    return end, 0


@leaf
def copy_page_range(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    source: int,
    target: int,
    vpn: int,
    nr: int,
    out_slots: I64,
) -> tuple[int, int, int]:
    """Give mm `target` the pages `source` has in a private mapping, both read-only from now on.

    The child's entries are old. A swapped page is shared through its slot: the caller adds a use
    to each slot in `out_slots`.

    Returns:
        Entries, slots, and the vpn to go on from: `vpn + nr` when done, less when `out_slots` is
        full.

    Source: Linux 6.1 mm/memory.c:copy_pte_range, :copy_present_pte
    """
    entry, private = pt.entry, mem.pages.private
    mask = (1 << pt.state[PT_BITS]) - 1
    limit = vpn + nr
    n_slots, copied = 0, 0
    while vpn < limit:
        row, end = walk(entry, pt.state, private, int(mms.pgd_row[source]), vpn)
        end = min(end, limit)
        if row == 0:
            vpn = end
            continue
        child_row, _ = walk(entry, pt.state, private, int(mms.pgd_row[target]), vpn)
        assert child_row, "the caller has built the tables of the child"
        while vpn < end:
            pte = get_pte(entry, row, vpn & mask)
            if is_swap_pte(pte):
                if n_slots == len(out_slots):
                    return copied, n_slots, vpn
                out_slots[n_slots] = pte_swap_slot(pte)
                n_slots += 1
                mms.rss[target, MM_SWAPENTS] += 1
            elif pte:
                if maps_page(pte):
                    share_page(mem, mms, target, pte_pfn(pte))
                pte &= ~_PAGE_RW
                entry[row, vpn & mask] = pte
                pte &= ~_PAGE_ACCESSED
            if pte:
                entry[child_row, vpn & mask] = pte
                copied += 1
            vpn += 1
    return copied, n_slots, vpn


@leaf
def share_page(mem: Mem, mms: Mms, mm: int, pfn: int) -> None:
    """Count that an address space maps a page, too, which is nobody's alone from now on.

    Source: Linux 6.1 include/linux/mm.h:page_try_dup_anon_rmap, :page_dup_file_rmap
    """
    if mem.pages.flags[pfn] & np.uint32(PG_anon):
        mem.pages.mapcount[pfn] += 1
        mem.pages.flags[pfn] &= np.uint32(~PG_anon_exclusive & 0xFFFF_FFFF)
        mms.rss[mm, MM_ANONPAGES] += 1
    else:
        page_add_file_rmap(mem, pfn)
        mms.rss[mm, mm_counter_file(mem.pages.flags[pfn])] += 1
