"""Moving any page to another frame, whoever maps it, whatever cache it is in.

Linux: mm/migrate.c: unmap_and_move, folio_migrate_mapping, remove_migration_ptes;
mm/rmap.c:try_to_migrate, 6.1.
# Differs from Linux: A page that is in the swap cache or the page cache moves in one step: it is
# not locked meanwhile, and nobody waits for it. Migration entries are for anonymous pages alone.

Interface: pages that `isolate_movable` has taken off their lists are unmapped by `try_to_migrate`;
when the time is over that copying takes `move_to_new_folio` moves them and maps them again. TLBs
lose a page in the step that takes its entry away; the caller pays for the interrupts.
Units: pages.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.hw.tlb import flush_page_everywhere
from kernelsim.mm.core.mem import (
    I64,
    I64_3D,
    Mem,
    PG_activating,
    PG_anon,
    PG_batched,
    PG_dirty,
    PG_gathered,
    PG_isolated,
    PG_locked,
    PG_lru,
    PG_swapbacked,
    PG_swapcache,
    PG_writeback,
    nid_of,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS, folio_add_lru, lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_DIRTY,
    NR_FILE_PAGES,
    NR_ISOLATED_ANON,
    NR_MAPPED,
    NR_SHMEM,
    NR_ZONE_WRITE_PENDING,
)
from kernelsim.mm.core.xarray import xa_load, xa_store
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.space.i_mmap import FV_MM, FV_NEXT
from kernelsim.mm.space.pgtable import (
    PT_BITS,
    PTE_PFN_MASK,
    Mms,
    PageTables,
    end_migration_pte,
    get_pte,
    is_migration_pte,
    make_migration_pte,
    maps_page,
    mk_pte,
    pte_pfn,
    walk,
)
from kernelsim.mm.space.rmap import vpn_of_page
from kernelsim.mm.space.rmap_file import first_mapping, table_of, vpn_in
from kernelsim.mm.swap.migrate import folio_migrate_flags, move_counts
from kernelsim.mm.swap.swap_area import SwapArea

BUSY: Final = PG_locked | PG_writeback | PG_batched | PG_activating | PG_gathered

# What becomes of a page that is to move
STAYS: Final = 0  # somebody works on it
WAITED_FOR: Final = 1  # migration entries stand for it
AT_ONCE: Final = 2  # it moves in one step
MOVED: Final = 3  # it is in its new frame

# How entries change
TO_MIGRATION: Final = 0
FROM_MIGRATION: Final = 1
TO_FRAME: Final = 2


class Translations(NamedTuple):
    """What the TLBs of all CPUs hold, and what is taken out of them."""

    tag: I64_3D  # as `Burst.tlb_tag`
    asid: I64  # [mm] what tells its entries from others
    flushes: I64  # [mm] counts the entries of page tables that changed


@leaf
def isolate_movable(mem: Mem, pfn: int, end: int, out: I64, kinds: I64) -> tuple[int, int]:
    """Take the pages of a range of frames of one node off their lists, as many as `out` holds.

    Returns:
        How many, and the frame to go on from. `kinds` says of each page as what it counts until it
        is put back: 0 for anonymous pages, 1 for those of files.

    Source: Linux 6.1 mm/memory_hotplug.c:do_migrate_range, mm/folio-compat.c:isolate_lru_page
    """
    nr = 0
    nid = nid_of(mem, pfn)
    while pfn < end and nr < len(out):
        flags = mem.pages.flags[pfn]
        if flags & np.uint32(PG_lru) and not flags & np.uint32(BUSY):
            kinds[nr] = isolate_lru_page(mem, pfn, nid)
            out[nr] = pfn
            nr += 1
        pfn += 1
    return nr, pfn


@leaf
def isolate_lru_page(mem: Mem, pfn: int, nid: int) -> int:
    """Take a page of a node off its list; return as what it counts until it is put back.

    Source: Linux 6.1 mm/vmscan.c:folio_isolate_lru
    """
    kind = 0 if mem.pages.flags[pfn] & np.uint32(PG_swapbacked) else 1
    lruvec_del_folio(mem, pfn)
    mem.pages.flags[pfn] |= np.uint32(PG_isolated)
    mem.node_stat[nid, NR_ISOLATED_ANON + kind] += 1
    return kind


@leaf
def change_anon_entries(
    mem: Mem, pt: PageTables, mms: Mms, cpus: Translations, pfn: int, new: int, how: int,
) -> None:  # fmt: skip
    """Change the entries of an anonymous page in all address spaces.

    Source: Linux 6.1 mm/rmap.c:try_to_migrate_one, mm/migrate.c:remove_migration_pte
    """
    owner, left = int(mem.pages.mapping[pfn]), int(mem.pages.mapcount[pfn])
    is_moved = False  # whether to look for those that have moved it since a fork (mremap)
    mm = owner
    while left > 0:
        vpn = int(mem.pages.index[pfn])
        if is_moved:
            vpn = vpn_of_page(pt, mem, int(mms.pgd_row[mm]), pfn)
        if vpn >= 0 and change_anon_entry(mem, pt, mms, cpus, pfn, new, how, mm, vpn):
            left -= 1
        mm = int(mms.fork_next[mm])
        assert mm or not owner, "the owner of a page is in no ring"
        if mm == owner:
            assert left == 0 or not is_moved, "an anonymous page is mapped by nobody of its ring"
            is_moved = True


@leaf
def change_anon_entry(
    mem: Mem, pt: PageTables, mms: Mms, cpus: Translations, pfn: int, new: int, how: int,
    mm: int, vpn: int,
) -> bool:  # fmt: skip
    """Change the entry of an anonymous page in one address space; tell whether it was to be."""
    row, _ = walk(pt.entry, pt.state, mem.pages.private, int(mms.pgd_row[mm]), vpn)
    index = vpn & ((1 << pt.state[PT_BITS]) - 1)
    pte = get_pte(pt.entry, row, index) if row else 0
    if not maps_page(pte) or pte_pfn(pte) != pfn:
        return False
    if is_migration_pte(pte) != (how == FROM_MIGRATION):
        return False
    if how == FROM_MIGRATION:
        pt.entry[row, index] = end_migration_pte(pte, new)
    elif how == TO_FRAME:
        pt.entry[row, index] = mk_pte(new, pte & ~PTE_PFN_MASK)
    else:
        pt.entry[row, index] = make_migration_pte(pte)
    if how != FROM_MIGRATION:  # no TLB has a page that a migration entry stands for
        cpus.flushes[mm] += 1
        flush_page_everywhere(cpus.tag, int(cpus.asid[mm]), vpn)
    return True


@leaf
def change_file_entries(
    mem: Mem, pt: PageTables, mms: Mms, cpus: Translations, pfn: int, new: int,
) -> None:  # fmt: skip
    """Let the entries of a page of a file lead to another frame."""
    index, left = int(mem.pages.index[pfn]), int(mem.pages.mapcount[pfn])
    mask = (1 << pt.state[PT_BITS]) - 1
    mapping = first_mapping(mms, int(mem.pages.mapping[pfn]))
    while left > 0 and mapping:
        vpn = vpn_in(mms.file_vma, mapping, index)
        row = table_of(mem, pt, mms, mapping, vpn, pfn)
        if row:
            left -= 1
            pte = get_pte(pt.entry, row, vpn & mask)
            pt.entry[row, vpn & mask] = mk_pte(new, pte & ~PTE_PFN_MASK)
            mm = int(mms.file_vma[mapping, FV_MM])
            cpus.flushes[mm] += 1
            flush_page_everywhere(cpus.tag, int(cpus.asid[mm]), vpn)
        mapping = int(mms.file_vma[mapping, FV_NEXT])
    assert left == 0, "a page of a file is mapped where no mapping shows it"


@leaf
def try_to_migrate(
    mem: Mem, pt: PageTables, mms: Mms, cpus: Translations, pfns: I64, state: I64,
) -> None:  # fmt: skip
    """Put migration entries in place of those that map isolated pages.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        cpus: What their TLBs have.
        pfns: The pages.
        state: Is set to STAYS, WAITED_FOR or AT_ONCE.

    Source: Linux 6.1 mm/rmap.c:try_to_migrate
    """
    for i in range(len(pfns)):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn]
        mapcount = int(mem.pages.mapcount[pfn])
        state[i] = STAYS
        if flags & np.uint32(BUSY) or flags == np.uint32(PG_isolated):
            continue
        state[i] = AT_ONCE
        if mapcount == 0 or flags & np.uint32(PG_anon | PG_swapcache) != np.uint32(PG_anon):
            continue
        change_anon_entries(mem, pt, mms, cpus, pfn, pfn, TO_MIGRATION)
        state[i] = WAITED_FOR


@leaf
def move_to_new_folio(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, files: FileMappings,
    cpus: Translations, old: I64, new: I64, kinds: I64, state: I64,
) -> int:  # fmt: skip
    """Move pages to their new frames, which are isolated then, and map them there.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        swap: Swap slots.
        files: Page caches.
        cpus: What their TLBs have.
        old: Frames of the pages; bare when they have moved.
        new: Fresh frames.
        kinds: As what they count while they are off their lists.
        state: What `try_to_migrate` said; is set to MOVED for those that were.

    Returns:
        How many were.

    Source: Linux 6.1 mm/migrate.c:move_to_new_folio, :remove_migration_ptes
    """
    nr_moved = 0
    for i in range(len(old)):
        pfn, fresh = int(old[i]), int(new[i])
        flags = mem.pages.flags[pfn]
        if state[i] == STAYS or flags & np.uint32(BUSY) or flags == np.uint32(PG_isolated):
            continue  # its last user may have gone meanwhile
        is_anon = flags & np.uint32(PG_anon) != 0
        is_cached = flags & np.uint32(PG_swapcache) != 0
        mapcount = int(mem.pages.mapcount[pfn])
        if is_anon and mapcount:
            how = FROM_MIGRATION if state[i] == WAITED_FOR else TO_FRAME
            if how == TO_FRAME and not is_cached:
                continue  # it has left the swap cache: next time it is waited for
            change_anon_entries(mem, pt, mms, cpus, pfn, fresh, how)
        elif not is_anon and not is_cached:
            number, index = int(mem.pages.mapping[pfn]), int(mem.pages.index[pfn])
            if not number or xa_load(files.xa, number, index) != pfn:
                continue
            xa_store(files.xa, number, index, fresh, nid_of(mem, fresh))
            change_file_entries(mem, pt, mms, cpus, pfn, fresh)
        elif not is_cached:
            continue
        mem.node_stat[nid_of(mem, pfn), NR_ISOLATED_ANON + kinds[i]] -= 1
        move_file_counts(mem, pfn, -1)
        move_counts(mem, pfn, -1)
        folio_migrate_flags(mem, swap, pfn, fresh)
        move_file_counts(mem, fresh, 1)
        move_counts(mem, fresh, 1)
        mem.node_stat[nid_of(mem, fresh), NR_ISOLATED_ANON + kinds[i]] += 1
        state[i] = MOVED
        nr_moved += 1
    return nr_moved


@leaf
def move_file_counts(mem: Mem, pfn: int, sign: int) -> None:
    """Count a page of a file that comes to a frame, or leaves it.

    Source: Linux 6.1 mm/migrate.c:folio_migrate_mapping
    """
    flags = mem.pages.flags[pfn]
    if flags & np.uint32(PG_anon | PG_swapcache) or not mem.pages.mapping[pfn]:
        return
    nid = nid_of(mem, pfn)
    mem.node_stat[nid, NR_FILE_PAGES] += sign
    if mem.pages.mapcount[pfn]:
        mem.node_stat[nid, NR_MAPPED] += sign
    if flags & np.uint32(PG_swapbacked):
        mem.node_stat[nid, NR_SHMEM] += sign
    elif flags & np.uint32(PG_dirty):
        mem.node_stat[nid, NR_DIRTY] += sign
        mem.zone_stat[zone_of(mem, pfn), NR_ZONE_WRITE_PENDING] += sign


@leaf
def putback_movable_pages(mem: Mem, pfns: I64, kinds: I64, out: I64) -> int:
    """Put isolated pages, all of one node, in front of their lists.

    Returns:
        How many lost their last user meanwhile: they are in `out`, to be freed.

    Source: Linux 6.1 mm/migrate.c:putback_movable_pages, mm/swap.c:folio_add_lru
    """
    nr_free = 0
    for i in range(len(pfns)):
        pfn = int(pfns[i])
        mem.node_stat[nid_of(mem, pfn), NR_ISOLATED_ANON + kinds[i]] -= 1
        if mem.pages.flags[pfn] & (ALL_FLAGS ^ PG_activating) == PG_isolated:
            mem.pages.flags[pfn] &= PG_activating
            if not mem.pages.flags[pfn]:  # else the batch of a CPU holds it, and frees it
                out[nr_free] = pfn
                nr_free += 1
            continue
        mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_isolated
        folio_add_lru(mem, pfn)
    return nr_free
