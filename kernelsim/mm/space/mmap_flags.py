"""What kinds of mappings there are, and what each asks of its file.

Linux: mm/mmap.c:do_mmap, 6.1.
"""

import errno

from kernelsim.mm.space.mmap import MappedFile
from kernelsim.mm.space.vm_flags import (
    LEGACY_MAP_MASK,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_TYPE,
    PROT_WRITE,
    VmFlag,
)

SHARED = VmFlag.VM_SHARED | VmFlag.VM_MAYSHARE


def flags_of_kind(flags: VmFlag, prot: int, map_flags: int, file: MappedFile | None) -> int:
    """Return the flags of a mapping, with those of its kind, or a negative errno.

    Args:
        flags: Those it has of its own.
        prot: PROT_* bits.
        map_flags: MAP_* bits.
        file: What is mapped; None for memory.

    Source: Linux 6.1 mm/mmap.c:do_mmap
    """
    kind = map_flags & MAP_TYPE
    if file is not None and file.number:
        return _of_file(flags, prot, map_flags, file)
    if kind == MAP_SHARED:
        return -errno.EINVAL if flags & VmFlag.VM_GROWSDOWN else int(flags | SHARED)
    return int(flags) if kind == MAP_PRIVATE else -errno.EINVAL


def _of_file(flags: VmFlag, prot: int, map_flags: int, file: MappedFile) -> int:
    kind = map_flags & MAP_TYPE
    if kind not in (MAP_SHARED, MAP_SHARED_VALIDATE, MAP_PRIVATE):
        return -errno.EINVAL
    if kind == MAP_SHARED_VALIDATE and map_flags & ~(LEGACY_MAP_MASK | MAP_SHARED_VALIDATE):
        return -errno.EOPNOTSUPP
    if kind != MAP_PRIVATE:
        if prot & PROT_WRITE and not file.can_write:
            return -errno.EACCES
        flags |= SHARED
        if not file.can_write:
            flags &= ~(VmFlag.VM_MAYWRITE | VmFlag.VM_SHARED)
    if not file.can_read:
        return -errno.EACCES
    return -errno.EINVAL if flags & VmFlag.VM_GROWSDOWN else int(flags)
