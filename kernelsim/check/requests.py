"""What limits the pages that faults in compiled code ask for, worked out apart from them.

Linux: mm/mempolicy.c: get_vma_policy, vma_alloc_folio, 6.1.
Interface: `burst_context`.
Units: virtual page numbers.
"""

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.burst.columns import B_LEFT, B_LISTED, B_STRIDE, B_VPN, FOR_NODE, FOR_TABLE
from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_ZEROED_USER_FOLIO, USERPTE_GFP
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.units import PAGE_SHIFT


def burst_context(kernel: Kernel, cpu: int, wanted: int, pid: int) -> AllocContext:
    """Return what limits the faults of a process on a CPU, for what a page is to be (FOR_*)."""
    entry, get = kernel.processes[pid], kernel.alloc_contexts.get
    nid = kernel.cpus[cpu].nid
    if wanted == FOR_TABLE:
        return get(nid, entry.policy, USERPTE_GFP[kernel.spec.arch])
    vma = accessed_vma(entry.mm, kernel.burst.run[cpu])
    policy = entry.policy if vma is None or vma.policy is None else vma.policy
    if policy is not None and wanted >= FOR_NODE:
        policy = policy.on_node(policy.nodes[wanted - FOR_NODE])
    return get(nid, policy, GFP_ZEROED_USER_FOLIO)


def accessed_vma(mm: MmStruct, row: I64) -> VmArea | None:
    """Return the mapping that a CPU accesses in a burst; None if those may be several."""
    if row[B_LISTED]:
        return None
    last = int(row[B_VPN]) - (0 if row[B_LEFT] else int(row[B_STRIDE]))
    return mm.map.find_vma(last << PAGE_SHIFT)
