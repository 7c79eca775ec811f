"""mprotect and mremap: the calls that change mappings whose pages stay.

Linux: mm/mprotect.c, mm/mremap.c, 6.1.
Units: bytes.
"""

import errno
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages, table_context
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, PageRange, PageRanges, page_range
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, page_align
from kernelsim.mm.space.mprotect import change_protection, do_mprotect
from kernelsim.mm.space.mremap import (
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    Move,
    do_mremap,
    end_move,
    move_page_tables,
)
from kernelsim.mm.space.pgtable import install_tables
from kernelsim.mm.space.vm_flags import PROT_READ, VM_ACCESS_FLAGS, VmFlag
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE


@attrs.frozen
class Mprotect:
    """Change the permissions of a range; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        prot: PROT_* bits.
    """

    address: int
    length: int
    prot: int = PROT_READ


@attrs.frozen
class Mremap:
    """Change the length of a mapping, or its place; answered with its address, or an errno.

    Attributes:
        address: Where it is.
        old_length: Bytes of it that are meant.
        length: Bytes they shall become.
        flags: MREMAP_* bits.
        new_address: Where it shall go, with MREMAP_FIXED; a hint with MREMAP_DONTUNMAP.
    """

    address: int
    old_length: int
    length: int
    flags: int = MREMAP_MAYMOVE
    new_address: int = 0


async def mprotect(caller: Caller, message: Mprotect) -> int:
    """Change permissions.

    Source: Linux 6.1 mm/mprotect.c:do_mprotect_pkey
    """
    await caller.enter_kernel()
    change = do_mprotect(caller.mm, message.address, message.length, message.prot)
    for vma in change.pieces:
        await _change_protection(caller, vma)
        if vma in change.populate:  # a locked mapping that may be written from now on
            await caller.populate(vma.start, vma.end)
    return change.result


async def _change_protection(caller: Caller, vma: VmArea) -> None:
    """Change the entries of a piece of a mapping, and have TLBs forget the old ones."""
    kernel, mm = caller.kernel, caller.mm
    access = int(vma.flags & VM_ACCESS_FLAGS)
    shared = bool(vma.flags & VmFlag.VM_SHARED)
    changed = change_protection(*kernel.space, mm.number, vma.vpn, vma.nr_pages, access, shared)
    if changed:
        await caller.task.compute(kernel.spec.latency.pte_set_ns * changed)
        await flush_tlb_mm_range(caller.current, mm, vma.vpn, vma.nr_pages)


async def mremap(caller: Caller, message: Mremap) -> int:
    """Grow, shrink or move a mapping.

    Source: Linux 6.1 mm/mremap.c:mremap, :move_vma
    """
    await caller.enter_kernel()
    remap = do_mremap(
        caller.mm,
        message.address,
        message.old_length,
        message.length,
        message.flags,
        message.new_address,
    )
    for change in remap.cleared:
        await caller.finish(change)
        if change.unmapped:
            caller.kernel.observer.emptied(caller.task.pid, *change.hull())
    if remap.move is not None:
        is_done = await _move_pages(caller, remap.move)
        end_move(caller.mm, remap, is_done=is_done)
    if remap.unmapped is not None:
        await caller.finish(remap.unmapped)
    start, end = remap.populate
    if start < end:
        await caller.populate(start, end)
    return remap.result


async def _move_pages(caller: Caller, move: Move) -> bool:
    """Move entries to their new places, for which page tables are made; back if there are none.

    Returns:
        Whether they are in their new places.

    Source: Linux 6.1 mm/mremap.c:move_page_tables, :move_vma
    """
    kernel, mm, task = caller.kernel, caller.mm, caller.task
    done, moved, frame = 0, 0, np.zeros(1, np.int64)
    while True:
        nr, present = move_page_tables(
            *kernel.space, mm.number, move.vpn + done, move.nr_pages - done, move.new_vpn + done
        )
        kernel.observer.moved(task.pid, move.vpn + done, nr, move.new_vpn + done)
        done, moved = done + nr, moved + present
        if done == move.nr_pages:
            break
        grant = await alloc_pages(caller.current, table_context(caller.current), 1, frame)
        if not grant.nr:
            break
        await clear_pages(caller.current, grant.nid, 1)
        kernel.pool.reserve(1)
        install_tables(*kernel.space, mm.number, move.new_vpn + done, 1, frame, 1)
        kernel.placed(1)
    if moved:
        await task.compute(kernel.spec.latency.pte_set_ns * moved)
        await flush_tlb_mm_range(caller.current, mm, move.vpn, move.nr_pages)
    if done < move.nr_pages:
        await _move_back(caller, attrs.evolve(move, nr_pages=done))
    return done == move.nr_pages


async def _move_back(caller: Caller, move: Move) -> None:
    """Move entries back to where they came from, whose page tables are still there.

    Source: Linux 6.1 mm/mremap.c:move_vma
    """
    kernel, mm, task = caller.kernel, caller.mm, caller.task
    done, moved = 0, 0
    while done < move.nr_pages:
        nr, present = move_page_tables(
            *kernel.space, mm.number, move.new_vpn + done, move.nr_pages - done, move.vpn + done
        )
        moved += present
        done += nr + 1  # one more than nr, if that is short, lacks a table: it was empty
    kernel.observer.moved(task.pid, move.new_vpn, move.nr_pages, move.vpn)
    if moved:
        await task.compute(kernel.spec.latency.pte_set_ns * moved)
        await flush_tlb_mm_range(caller.current, mm, move.new_vpn, move.nr_pages)


def _remapped_leaves(_mm: MmStruct, value: Mremap) -> PageRanges:
    old = page_range(value.address, value.old_length)
    if value.flags & MREMAP_FIXED and value.new_address % PAGE_SIZE == 0:
        return old, page_range(value.new_address, value.length)
    return (old,)


def _remapped_drops(value: Mremap, answer: int | None, _leaving: PageRanges) -> PageRanges:
    old, new = (page_align(length) % (1 << 64) for length in (value.old_length, value.length))
    if answer is None or answer < 0 or old <= new:
        return ()
    return (PageRange((value.address + new) >> PAGE_SHIFT, (value.address + old) >> PAGE_SHIFT),)


def _remapped_moves(value: Mremap, answer: int | None) -> tuple[int, int, int] | None:
    if answer is None or answer < 0 or answer == value.address:
        return None
    nr_pages = page_align(min(value.old_length, value.length)) >> PAGE_SHIFT
    return value.address >> PAGE_SHIFT, nr_pages, answer >> PAGE_SHIFT


CALLS: Final = (
    Call(
        name="mprotect",
        mmap_lock="write_killable",
        value=Mprotect,
        handler=mprotect,
        errors=(errno.EINVAL, errno.ENOMEM, errno.EACCES),
        form="region number",
        steps={"mprotect": {}},
        effect=Effect(protects=lambda value: page_range(value.address, value.length)),
    ),
    Call(
        name="mremap",
        mmap_lock="write_killable",
        value=Mremap,
        handler=mremap,
        returns="mapping",
        errors=(errno.EINVAL, errno.ENOMEM, errno.EFAULT, errno.EAGAIN),
        form="region size",
        steps={
            "mremap": {},
            "mremapinplace": {"flags": 0},
            "mremapkeep": {"flags": MREMAP_MAYMOVE | MREMAP_DONTUNMAP},
        },
        effect=Effect(leaves=_remapped_leaves, drops=_remapped_drops, moves=_remapped_moves),
    ),
)
