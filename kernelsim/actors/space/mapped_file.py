"""An open file as mappings have it.

Linux: mm/mmap.c:do_mmap, fs/proc/task_mmu.c:show_map_vma, 6.1.
Interface: `mapped_file`.
"""

from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.file.file_write import MAX_LFS_FILESIZE
from kernelsim.actors.space.shmem import shmem_file
from kernelsim.fs.file import OpenFile
from kernelsim.mm.space.mmap import MappedFile

DEV_SHIFT: Final = 20  # of the major number in a device's


def mapped_file(kernel: Kernel, opened: OpenFile) -> MappedFile:
    """Return an open file as mappings have it."""
    inode = opened.inode
    if inode.is_shmem:
        return shmem_file(opened)
    dev = kernel.devices[inode.device].dev
    device = (dev >> DEV_SHIFT, dev & (1 << DEV_SHIFT) - 1)
    return MappedFile(
        inode.path,
        inode.number,
        device,
        inode.number,
        opened,
        can_read=opened.can_read,
        can_write=opened.can_write,
        max_bytes=MAX_LFS_FILESIZE,
        is_on_disk=True,
    )
