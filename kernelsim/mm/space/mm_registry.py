"""All address spaces of a machine: their numbers, their birth and end, their rows in `Mms`.

Linux: kernel/fork.c:mm_alloc, :mm_init, :check_mm (6.1).

Compiled code knows an address space by its number only. The registry gives out that number, and
keeps the arrays indexed by it: the PGD, resident pages, page tables, the ring of relatives.

Interface: `mm_alloc` makes an empty address space, `mm_free` forgets one; `by_number` holds those
that live.
Units: pages.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.maple_tree import MapleTree
from kernelsim.mm.core.mem import I64, Slabs
from kernelsim.mm.core.slab import kmem_cache_alloc, kmem_cache_free
from kernelsim.mm.core.slab_cache import MAPLE_NODE, VM_AREA_STRUCT
from kernelsim.mm.space.i_mmap import NR_FV_FIELDS, IMmap
from kernelsim.mm.space.mm_struct import MmStruct, Rlimits
from kernelsim.mm.space.mmap import TASK_SIZE, VmArea
from kernelsim.mm.space.pgtable import NR_MM_COUNTERS, Mms, get_mm_rss
from kernelsim.mm.space.util import CommitAccount
from kernelsim.mm.space.vma_map import VmaMap

NR_MMS_MIN: Final = 64


@attrs.define
class MmRegistry:
    """Gives out mm numbers, lowest first, and holds what leaves know of each mm.

    `mms` is replaced when it grows: pass `registry.mms` afresh.
    """

    commit: CommitAccount
    mms: Mms = attrs.Factory(lambda: make_mms(NR_MMS_MIN))
    by_number: dict[int, MmStruct] = attrs.Factory(dict)
    next_ctx_id: int = 1
    task_size: int = TASK_SIZE
    i_mmap: IMmap = attrs.Factory(IMmap)
    slabs: Slabs | None = None
    """Where the kernel keeps a vm_area_struct a mapping, and the nodes of their trees."""
    has_maple_trees: bool = True
    """Mappings are in maple trees; else in trees that have their nodes in the vm_area_structs."""
    this_nid: int = 0
    """Node of the CPU that the present system call runs on."""

    def mm_alloc(
        self, owner_pid: int, *, rlimits: Rlimits | None = None, cap_sys_admin: bool = True
    ) -> MmStruct:
        """Create an empty address space; `pgd_alloc` must give it a top table."""
        number = 1
        while number in self.by_number:
            number += 1
        if number == len(self.mms.pgd_row):
            self.grow()
        mm = MmStruct(
            number=number,
            ctx_id=self.next_ctx_id,
            owner_pid=owner_pid,
            commit=self.commit,
            map=VmaMap(
                task_size=self.task_size,
                mm=number,
                mms=self,
                tree=MapleTree(self._maple_alloc, self._maple_free),
            ),
            rlimits=rlimits or Rlimits(),
        )
        mm.set_capabilities(has_them=cap_sys_admin)
        self.next_ctx_id += 1
        self.by_number[number] = mm
        self.mms.fork_next[number] = number
        return mm

    def join_fork(self, *, parent: MmStruct, child: MmStruct) -> None:
        """Put a fresh child on its parent's ring, so that reverse mapping finds shared pages."""
        next_number = self.mms.fork_next[parent.number]
        self.mms.fork_next[child.number] = next_number
        self.mms.fork_next[parent.number] = child.number

    def mm_free(self, mm: MmStruct) -> None:
        """Forget an address space whose pages and tables are all gone (kernel/fork.c:check_mm)."""
        mms, number = self.mms, mm.number
        assert not mms.rss[number].any(), "an mm ends with pages still counted"
        assert mms.nr_ptes[number] == 0, "an mm ends with page tables"
        assert mms.pgd_row[number] == 0, "an mm ends with its PGD"
        before = number
        while mms.fork_next[before] != number:
            before = int(mms.fork_next[before])
        mms.fork_next[before] = mms.fork_next[number]
        mms.fork_next[number] = 0
        mms.hiwater_rss[number] = 0
        mms.tlb_flush_batched[number] = 0
        del self.by_number[number]

    def ctx_ids(self) -> I64:
        """Return by mm number what tells the entries that a TLB has of it from others."""
        ctx_ids = np.zeros(len(self.mms.pgd_row), np.int64)
        for number, mm in self.by_number.items():
            ctx_ids[number] = mm.ctx_id
        return ctx_ids

    def hiwater_rss(self, mm: MmStruct) -> int:
        """Return the most pages that were resident at one time (VmHWM).

        Source: Linux 6.1 include/linux/mm.h:get_mm_hiwater_rss
        """
        return int(max(self.mms.hiwater_rss[mm.number], get_mm_rss(self.mms, mm.number)))

    def vm_area_alloc(self) -> int:
        """Take a vm_area_struct; its slab settles at the end of the call (slab.py).

        Source: Linux 6.1 kernel/fork.c:vm_area_alloc
        """
        if self.slabs is None:
            return 0
        return kmem_cache_alloc(self.slabs, VM_AREA_STRUCT, self.this_nid)

    def vm_area_free(self, row: int) -> None:
        """Give one back.

        Source: Linux 6.1 kernel/fork.c:vm_area_free
        """
        if self.slabs is not None:
            kmem_cache_free(self.slabs, VM_AREA_STRUCT, self.this_nid, row)

    def _maple_alloc(self) -> int:
        """Take a node of a maple tree.

        Source: Linux 6.1 lib/maple_tree.c:mt_alloc_one
        """
        if self.slabs is None or not self.has_maple_trees:
            return 0
        return kmem_cache_alloc(self.slabs, MAPLE_NODE, self.this_nid)

    def _maple_free(self, row: int) -> None:
        """Give one back.

        Source: Linux 6.1 lib/maple_tree.c:mt_free_one
        """
        if self.slabs is not None and self.has_maple_trees:
            kmem_cache_free(self.slabs, MAPLE_NODE, self.this_nid, row)

    def vma_link_file(self, mm: int, vma: VmArea) -> None:
        """Let leaves find a mapping of a file from the file."""
        self.i_mmap.link(mm, vma)
        self.mms = self.mms._replace(file_vma=self.i_mmap.vma, i_mmap=self.i_mmap.first)

    def vma_unlink_file(self, mm: int, vma: VmArea) -> None:
        """Let them find it no more."""
        self.i_mmap.unlink(mm, vma)

    def grow(self) -> None:
        """Double the arrays of the address spaces."""
        before = self.mms
        grown = make_mms(2 * len(before.pgd_row))
        for old, new in zip(before, grown, strict=True):
            new[: len(old)] = old[: len(new)]
        self.mms = grown._replace(file_vma=before.file_vma, i_mmap=before.i_mmap)


def make_mms(nr_mms: int) -> Mms:
    """Return empty arrays for mm numbers below `nr_mms`."""
    zeros = np.zeros
    return Mms(
        pgd_row=zeros(nr_mms, np.int64),
        rss=zeros((nr_mms, NR_MM_COUNTERS), np.int64),
        hiwater_rss=zeros(nr_mms, np.int64),
        nr_ptes=zeros(nr_mms, np.int64),
        fork_next=zeros(nr_mms, np.int64),
        tlb_flush_batched=zeros(nr_mms, np.int64),
        file_vma=zeros((1, NR_FV_FIELDS), np.int64),
        i_mmap=zeros(1, np.int64),
    )
