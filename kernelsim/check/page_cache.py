"""Invariants of the page cache: index, pages and counters agree; pages hold what files do.

Interface: `check_page_cache` lists what is wrong; `FileContents` is told what programs were given
when they read; `file_token` is what a read would find now.
Cost: a pass over the nodes of all trees and over the pages of files.
"""

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.lru import count_by_node
from kernelsim.check.tables import cut_short
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.mem import (
    I64,
    U64,
    Mem,
    PG_activating,
    PG_anon,
    PG_dirty,
    PG_error,
    PG_locked,
    PG_swapbacked,
    PG_uptodate,
    PG_writeback,
)
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, NR_SWAPCACHED, WORKINGSET_NODES
from kernelsim.mm.core.xarray import (
    SN_COUNT,
    SN_HEAD,
    SWAP_ENTRY,
    XN_COUNT,
    XN_NEXT,
    XN_NID,
    XN_OFFSET,
    XN_PARENT,
    XN_SHIFT,
    XN_TREE,
    XN_VALUES,
    XArray,
    xa_load,
)
from kernelsim.mm.core.xarray_pool import XArrayPool
from kernelsim.mm.file.address_space import AS_NRPAGES, page_key
from kernelsim.mm.file.shmem import slot_of_entry
from kernelsim.mm.swap.gup import slot_token

DELIVERED_MAX: Final = 8  # wrong reads that are kept
LOST: Final = np.uint64((1 << 64) - 1)  # of a page that its device may hold or not


@attrs.define
class FileContents:
    """What the files of a machine hold, as their readers must see it.

    Attributes:
        expected: What each page holds, by number of the file.
        wrong: Reads that brought something else.
    """

    expected: dict[int, U64] = attrs.field(factory=dict)
    wrong: list[str] = attrs.field(factory=list)

    def learn(self, inodes: dict[int, Inode]) -> None:
        """Take what the devices hold for what files hold; before the first process starts."""
        self.expected = {number: inode.disk.copy() for number, inode in inodes.items()}

    def delivered(self, inode: Inode, index: int, tokens: U64) -> None:
        """Compare what a read brought."""
        wanted = self._of(inode, index + len(tokens))[index : index + len(tokens)]
        pages = np.arange(index, index + len(tokens), dtype=np.int64)
        differs = self.differs(np.full(len(pages), inode.number), pages, tokens)
        for at in np.flatnonzero(differs).tolist():
            if len(self.wrong) < DELIVERED_MAX:
                text = f"a read of file {inode.number} page {index + at} brought {tokens[at]:#x}"
                self.wrong.append(f"{text}, it holds {wanted[at]:#x}")

    def held(self, number: int, pages: I64) -> U64:
        """Return what some pages of a file must hold."""
        known = self.expected.get(number, np.zeros(0, np.uint64))
        tokens = np.zeros(len(pages), np.uint64)
        is_known = pages < len(known)
        tokens[is_known] = known[pages[is_known]]
        return tokens

    def differs(self, numbers: I64, pages: I64, tokens: U64) -> NDArray[np.bool_]:
        """Tell which pages of files, of one or several, hold something else than they must."""
        wanted = np.zeros(len(pages), np.uint64)
        for number in np.unique(numbers).tolist():
            own = numbers == number
            wanted[own] = self.held(number, pages[own])
        wrong: NDArray[np.bool_] = (wanted != tokens) & (wanted != LOST)
        return wrong

    def wrote(self, inode: Inode, index: int, nr: int, token: int) -> None:
        """Expect what a program stored."""
        self._of(inode, index + nr)[index : index + nr] = np.uint64(token)

    def stored(self, inode: Inode, pages: I64, token: int) -> None:
        """Expect what a program stored through a mapping."""
        if len(pages):
            self._of(inode, int(pages.max()) + 1)[pages] = np.uint64(token)

    def truncated(self, inode: Inode, index: int) -> None:
        """Expect nothing behind the end of a file."""
        self._of(inode, 0)[index:] = 0

    def lost(self, inode: Inode, pages: I64) -> None:
        """Expect anything of pages that a device could not take."""
        self._of(inode, int(pages.max()) + 1)[pages] = LOST

    def _of(self, inode: Inode, nr: int) -> U64:
        """Return what a file's pages hold, at least so many."""
        tokens = self.expected.get(inode.number, np.zeros(0, np.uint64))
        if nr > len(tokens) or inode.number not in self.expected:
            grown = np.zeros(max(nr, 2 * len(tokens)), np.uint64)
            grown[: len(tokens)] = tokens
            self.expected[inode.number] = tokens = grown
        return tokens


def file_token(kernel: Kernel, inode: Inode, index: int) -> int:
    """Return what a read of a page of a file would find now: in memory, in swap, on its device."""
    pfn = int(xa_load(kernel.spaces.pool.xa, inode.number, index))
    if pfn > 0:
        return int(kernel.mem.pages.token[pfn])
    if slot := slot_of_entry(pfn):
        return slot_token(kernel.mem, kernel.swap, slot)
    return int(inode.disk[index]) if index < len(inode.disk) else 0


def check_page_cache(mem: Mem, kernel: Kernel) -> list[str]:
    """Return what is wrong with the page cache, one line each.

    Args:
        mem: The machine's memory, its counters without those of boot.
        kernel: The machine.
    """
    xa = kernel.spaces.pool.xa
    rows = np.flatnonzero(xa.node[:, XN_COUNT])
    lines = [*check_nodes(kernel.spaces.pool, rows), *check_shadow_nodes(mem, xa, rows)]
    leaves = rows[xa.node[rows, XN_SHIFT] == 0]
    at, slot = np.nonzero(xa.slots[leaves] > 0)
    pfns: I64 = xa.slots[leaves[at], slot]
    number, index = xa.node[leaves[at], XN_TREE], first_indexes(xa, leaves)[at] + slot
    pages = mem.pages
    wrong = (pages.mapping[pfns] != number) | (pages.index[pfns] != index)
    in_memory = [each.number for each in kernel.files.inodes.values() if each.is_shmem]
    is_swapbacked = pages.flags[pfns] & np.uint32(PG_swapbacked) != 0
    wrong |= (pages.flags[pfns] & np.uint32(PG_anon)) != 0
    wrong |= is_swapbacked != np.isin(number, in_memory)
    lines += cut_short(
        f"page {index[i]} of file {number[i]} is pfn {pfns[i]}, which is page "
        f"{pages.index[pfns[i]]} of {pages.mapping[pfns[i]]}"
        for i in np.flatnonzero(wrong).tolist()
    )
    owned = pages_of_files(mem)
    lines += cut_short(
        f"pfn {pfn} says it is page {pages.index[pfn]} of file {pages.mapping[pfn]}, and is not"
        for pfn in np.setdiff1d(owned, pfns).tolist()
    )
    lines += check_counts(mem, kernel, pfns, number)
    lines += check_batches(mem)
    lines += check_contents(mem, kernel, pfns, number, index)
    return lines


def pages_of_files(mem: Mem) -> I64:
    """Return the pages that say they belong to a file."""
    pages = mem.pages
    owned: I64 = np.flatnonzero((pages.mapping != 0) & (pages.flags & np.uint32(PG_anon) == 0))
    of_files: I64 = owned[(pages.flags[owned] & np.uint32(PG_swapbacked)) == 0]
    return of_files


def first_indexes(xa: XArray, leaves: I64) -> I64:
    """Return the index of the first slot of each lowest node."""
    first = np.zeros(len(leaves), np.int64)
    row = leaves.copy()
    while row.any():
        parent = xa.node[row, XN_PARENT]
        shift = np.where(parent, xa.node[parent, XN_SHIFT], 0)
        first += np.where(parent, xa.node[row, XN_OFFSET] << shift, 0)
        row = parent
    return first


def check_nodes(pool: XArrayPool, rows: I64) -> Iterator[str]:
    """Check that nodes count their slots and hang where they say, and that none is lost."""
    xa = pool.xa
    if len(rows) != pool.nr_in_use():
        yield f"{pool.nr_in_use()} nodes of page caches are in use, {len(rows)} hold something"
    slots, node = xa.slots[rows], xa.node[rows]
    is_shadow = (slots < 0) & (slots > SWAP_ENTRY)
    counts, values = np.count_nonzero(slots, axis=1), is_shadow.sum(axis=1)
    wrong = (counts != node[:, XN_COUNT]) | (values != node[:, XN_VALUES])
    parent = node[:, XN_PARENT]
    seat = np.where(parent, xa.slots[parent, node[:, XN_OFFSET]], xa.root[node[:, XN_TREE]])
    wrong |= seat != rows
    yield from cut_short(f"node {row} of a page cache is corrupt" for row in rows[wrong].tolist())


def check_shadow_nodes(mem: Mem, xa: XArray, rows: I64) -> Iterator[str]:
    """Check that nodes with nothing but shadows are on their list, and counted."""
    node = xa.node[rows]
    is_shadows = (node[:, XN_SHIFT] == 0) & (node[:, XN_COUNT] == node[:, XN_VALUES])
    for nid, nodes in enumerate(xa.shadow_nodes):
        wanted = rows[is_shadows & (node[:, XN_NID] == nid)]
        listed: list[int] = []
        row = int(nodes[SN_HEAD])
        while row and len(listed) <= len(rows):
            listed.append(row)
            row = int(xa.node[row, XN_NEXT])
        if sorted(listed) != wanted.tolist():
            yield f"node {nid}: {len(listed)} nodes listed with only shadows, not {len(wanted)}"
        counted = (int(nodes[SN_COUNT]), int(mem.node_stat[nid, WORKINGSET_NODES]))
        if counted != (len(wanted), len(wanted)):
            yield f"node {nid}: workingset_nodes is {counted[1]}, there are {len(wanted)}"


def check_counts(mem: Mem, kernel: Kernel, pfns: I64, number: I64) -> Iterator[str]:
    """Check nrpages of each file and nr_file_pages of each node."""
    found = np.bincount(number, minlength=len(kernel.spaces.row))
    for file in np.flatnonzero(found != kernel.spaces.row[:, AS_NRPAGES]).tolist():
        counted = kernel.spaces.nrpages(file)
        yield f"file {file}: nrpages is {counted}, {found[file]} pages are cached"
    cached = count_by_node(mem, pfns) + mem.node_stat[:, NR_SWAPCACHED]
    for nid in np.flatnonzero(cached != mem.node_stat[:, NR_FILE_PAGES]).tolist():
        counted = mem.node_stat[nid, NR_FILE_PAGES]
        yield f"node {nid}: nr_file_pages is {counted}, {cached[nid]} pages are cached"


def check_batches(mem: Mem) -> Iterator[str]:
    """Check that pages to be activated are in one batch, and say so."""
    batches = np.concatenate([batch[1 : 1 + batch[0]] for batch in mem.activate_batch])
    flagged = np.flatnonzero(mem.pages.flags & np.uint32(PG_activating))
    if sorted(batches.tolist()) != flagged.tolist():
        yield f"{len(flagged)} pages are to be activated, batches have {sorted(batches.tolist())}"


def check_contents(mem: Mem, kernel: Kernel, pfns: I64, number: I64, index: I64) -> Iterator[str]:
    """Check that a clean page holds what its device does, and that a locked one is being read."""
    flags = mem.pages.flags[pfns]
    known = np.uint32(PG_uptodate | PG_dirty | PG_writeback | PG_error)
    is_clean = (flags & known) == PG_uptodate
    for file, inode in sorted(kernel.files.inodes.items()):
        if inode.is_shmem:  # no device holds anything of it
            continue
        own = np.flatnonzero(is_clean & (number == file))
        held = np.zeros(max(len(inode.disk), int(index[own].max(initial=-1)) + 1), np.uint64)
        held[: len(inode.disk)] = inode.disk
        wrong = own[mem.pages.token[pfns[own]] != held[index[own]]]
        yield from cut_short(
            f"page {index[i]} of file {file} is clean and holds something else than its device"
            for i in wrong.tolist()
        )
    reading = (flags & np.uint32(PG_locked | PG_uptodate)) == PG_locked
    for i in np.flatnonzero(reading).tolist():
        if page_key(int(number[i]), int(index[i])) not in kernel.page_reads:
            yield f"page {index[i]} of file {number[i]} is locked, and nobody reads it"
