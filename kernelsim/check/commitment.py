"""What is promised to mappings and to shared memory, compared with what is counted as promised.

Linux: mm/util.c: vm_committed_as, 6.1.
Interface: `check_commitment`. Units: pages.
"""

from collections.abc import Iterator

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.space.vm_flags import VmFlag


def check_commitment(kernel: Kernel) -> Iterator[str]:
    """Compare what is promised with the mappings that were promised memory."""
    commit = kernel.mms.commit
    promised = commit.never_returned_pages + commit.in_flight_pages
    for number, mm in sorted(kernel.mms.by_number.items()):
        areas = list(mm.map)
        promised += sum(vma.nr_pages for vma in areas if vma.flags & VmFlag.VM_ACCOUNT)
        mapped = sum(vma.nr_pages for vma in areas)
        if mapped != mm.total_vm:
            yield f"mm {number}: total_vm is {mm.total_vm}, its mappings have {mapped} pages"
    for inode in kernel.files.inodes.values():
        if inode.is_shmem:  # whole, or each page that was made
            promised += inode.nr_pages if inode.is_charged else inode.alloced
    counted = commit.committed_pages
    if counted != promised:
        yield f"Committed_AS is {counted} pages, mappings were promised {promised}"
