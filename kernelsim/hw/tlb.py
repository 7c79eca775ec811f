"""The translation lookaside buffer of one CPU.

Linux: arch/x86/mm/tlb.c (6.1) for the flushes and the address-space identifiers.
Differs: The TLB has one level instead of two; the second level of a Skylake server core (1536
entries, 12-way) decides its reach. Replacement is round robin inside a set. Upper levels of a walk
are not cached.

Interface: each CPU has a `Tlb`, its rows of the burst's arrays; what accesses memory goes through
the frame that `tlb_lookup` gives, whatever page tables say by now, and enters what it found on a
walk with `tlb_enter`.
An entry's tag is `asid << 36 | vpn`; asids start at 1, so 0 means empty. What it translates to is
`pfn << 1`, with `TLB_STORES` if stores may go through it: its page was writable and dirty. Other
stores walk, which sets the dirty bit or faults.
Units: pages; nanoseconds in `AccessCost`.
"""

from typing import Annotated, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelsim.hw.leaf import inlined_leaf, leaf

NR_TLB_SETS: Final = 128  # power of two
NR_TLB_WAYS: Final = 12
TLB_TAG_SHIFT: Final = 36  # bits of a user page number: 48 - 12
TLB_STORES: Final = 1  # of a translation
TLB_PFN_SHIFT: Final = 1
TLB_MISS: Final = -1
TLB_SINGLE_PAGE_FLUSH_CEILING: Final = 33  # pages; arch/x86/mm/tlb.c


class Tlb(NamedTuple):
    """Entries of one CPU's TLB."""

    tag: Annotated[NDArray[np.int64], 2]  # [set, way] asid << 36 | vpn, 0 = empty
    entry: Annotated[NDArray[np.int64], 2]  # [set, way] pfn << 1 | TLB_STORES
    victim: NDArray[np.int64]  # [set] the way that is replaced next


class AccessCost(NamedTuple):
    """What a load or store costs a CPU, in ns."""

    tlb_hit_ns: int
    page_walk_step_ns: int  # one level of a walk
    memory_ns: NDArray[np.int64]  # [nid] access to that node's memory from this CPU


@inlined_leaf
def tlb_lookup(tlb: Tlb, asid: int, vpn: int) -> int:
    """Return what a page translates to, `TLB_MISS` if it has no entry."""
    tag = (asid << TLB_TAG_SHIFT) | vpn
    line = vpn & (tlb.tag.shape[0] - 1)
    for way in range(tlb.tag.shape[1]):
        if tlb.tag[line, way] == tag:
            return int(tlb.entry[line, way])
    return TLB_MISS


@inlined_leaf
def tlb_enter(tlb: Tlb, asid: int, vpn: int, entry: int, held: int) -> None:
    """Enter what a walk found, in place of what the look-up before it found."""
    tag = (asid << TLB_TAG_SHIFT) | vpn
    line = vpn & (tlb.tag.shape[0] - 1)
    if held != TLB_MISS:
        for way in range(tlb.tag.shape[1]):
            if tlb.tag[line, way] == tag:
                tlb.entry[line, way] = entry
        return
    way = tlb.victim[line]
    tlb.tag[line, way] = tag
    tlb.entry[line, way] = entry
    way += 1
    tlb.victim[line] = 0 if way == tlb.tag.shape[1] else way


@leaf
def tlb_flush_range(tlb: Tlb, asid: int, vpn: int, nr: int) -> None:
    """Drop the entries of `nr` pages."""
    for page in range(vpn, vpn + nr):
        tag = (asid << TLB_TAG_SHIFT) | page
        line = page & (tlb.tag.shape[0] - 1)
        for way in range(tlb.tag.shape[1]):
            if tlb.tag[line, way] == tag:
                tlb.tag[line, way] = 0


@leaf
def flush_page_everywhere(tags: Annotated[NDArray[np.int64], 3], asid: int, vpn: int) -> None:
    """Drop the entries that the TLBs of all CPUs, `tags[cpu, set, way]`, have of a page."""
    tag = (asid << TLB_TAG_SHIFT) | vpn
    line = vpn & (tags.shape[1] - 1)
    for cpu in range(tags.shape[0]):
        for way in range(tags.shape[2]):
            if tags[cpu, line, way] == tag:
                tags[cpu, line, way] = 0


@leaf
def tlb_flush_asid(tlb: Tlb, asid: int) -> int:
    """Drop all entries of one address space; return how many there were."""
    dropped = 0
    for line in range(tlb.tag.shape[0]):
        for way in range(tlb.tag.shape[1]):
            if tlb.tag[line, way] and tlb.tag[line, way] >> TLB_TAG_SHIFT == asid:
                tlb.tag[line, way] = 0
                dropped += 1
    return dropped
