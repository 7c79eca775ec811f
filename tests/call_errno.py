"""What the manual pages say a system call answers, from a list of mappings alone.

Each function reads the arguments as unsigned words, in the order in which Linux 6.1 looks at them,
and knows nothing of how the kernel here keeps its mappings. What depends on how much memory there
is, or on limits, is left open.
Interface: `expected` returns the answers a call may give; None where that is not foretold.
Units: bytes.
"""

from kernelsim.actors.process.calls import (
    advising,
    locking,
    mapping,
    mempolicy,
    migrating,
    protecting,
)
from kernelsim.mm.page.mempolicy import MAX_NUMNODES, MPOL_DEFAULT, MPOL_LOCAL, MPOL_PREFERRED
from kernelsim.mm.space import vm_flags
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SIZE
from tests.call_space import WORD, cuts_special, no, up

OK = 0
LOW = 64 * 1024  # vm.mmap_min_addr
ACCESS = VmFlag.VM_READ | VmFlag.VM_WRITE | VmFlag.VM_EXEC
SPECIAL = VmFlag.VM_IO | VmFlag.VM_DONTEXPAND | VmFlag.VM_PFNMAP | VmFlag.VM_MIXEDMAP
NEVER_REFUSED = ("normal", "random", "sequential", "dontfork", "dontdump")
FIXED = vm_flags.MAP_FIXED | vm_flags.MAP_FIXED_NOREPLACE
SHARED_TYPES = (vm_flags.MAP_SHARED, vm_flags.MAP_SHARED_VALIDATE)


def munmap(space, value):
    """Unmap a range."""
    start, length = value.address, value.length
    if start % PAGE_SIZE or start > space.task_size or length > space.task_size - start:
        return no("EINVAL")
    if not length:
        return no("EINVAL")
    end = start + up(length)
    return no("EINVAL") if cuts_special(space, start, end) else (OK,)


def mmap(space, value):
    """Map. An address means success."""
    flags, length = value.flags, up(value.length)
    kind = flags & vm_flags.MAP_TYPE
    is_anon = bool(flags & vm_flags.MAP_ANONYMOUS)
    if value.offset % PAGE_SIZE:
        return no("EINVAL")
    if flags & vm_flags.MAP_HUGETLB:
        return no("EINVAL", "ENOMEM") if is_anon or value.fd in space.files else no("EBADF")
    if not is_anon and value.fd not in space.files:
        return no("EBADF")
    if not value.length:
        return no("EINVAL")
    if not length or length > space.task_size:
        return no("ENOMEM")
    refused = _place(space, value.address, length, flags)
    if refused:
        return refused
    if flags & vm_flags.MAP_LOCKED:
        if not space.may_lock():
            return no("EPERM")
        if not space.is_root and space.locked_bytes + length > space.memlock:
            return no("EAGAIN")
    # a hole that is large enough may be nowhere
    nowhere = no("ENOMEM") if length > 1 << 44 and not flags & FIXED else ()
    if is_anon:
        return (*_anonymous(kind, flags), *nowhere)
    if value.offset + length > 1 << 63:
        return no("EOVERFLOW")
    # beyond the longest file of its file system, of which tmpfs knows none
    far = no("EOVERFLOW") if value.offset + length > 1 << 43 else ()
    return (*_of_file(space, value, kind), *far, *nowhere)


def _place(space, address, length, flags):
    if not flags & FIXED:
        return ()
    if address > space.task_size - length:
        return no("ENOMEM")
    if address % PAGE_SIZE:
        return no("EINVAL")
    if address < LOW and not space.is_root:
        return no("EPERM")
    if flags & vm_flags.MAP_FIXED_NOREPLACE and space.inside(address, address + length):
        return no("EEXIST")
    return ()


def _anonymous(kind, flags):
    if kind == vm_flags.MAP_SHARED:
        return no("EINVAL") if flags & vm_flags.MAP_GROWSDOWN else (OK,)
    return (OK,) if kind == vm_flags.MAP_PRIVATE else no("EINVAL")


def _of_file(space, value, kind):
    can_read, can_write = space.files[value.fd]
    if kind not in (*SHARED_TYPES, vm_flags.MAP_PRIVATE):
        return no("EINVAL")
    unknown = value.flags & ~(vm_flags.LEGACY_MAP_MASK | vm_flags.MAP_SHARED_VALIDATE)
    if kind == vm_flags.MAP_SHARED_VALIDATE and unknown:
        return no("EOPNOTSUPP")
    if kind in SHARED_TYPES and value.prot & vm_flags.PROT_WRITE and not can_write:
        return no("EACCES")
    if not can_read:
        return no("EACCES")
    if value.flags & vm_flags.MAP_GROWSDOWN:
        return no("EINVAL")
    return (OK,)


def mprotect(space, value):
    """Protect mapping by mapping."""
    start, prot = value.address, value.prot
    grows = prot & (vm_flags.PROT_GROWSDOWN | vm_flags.PROT_GROWSUP)
    prot &= ~grows
    if grows == vm_flags.PROT_GROWSDOWN | vm_flags.PROT_GROWSUP or start % PAGE_SIZE:
        return no("EINVAL")
    if not value.length:
        return (OK,)
    end = (start + up(value.length)) % WORD
    if end <= start:
        return no("ENOMEM")
    if prot & ~0xF:
        return no("EINVAL")
    area = space.at(start)
    if area is None:
        return no("ENOMEM")
    if grows == vm_flags.PROT_GROWSDOWN:
        if area.start >= end:
            return no("ENOMEM")
        if not area.flags & VmFlag.VM_GROWSDOWN:
            return no("EINVAL")
        start = area.start
    elif area.start > start:
        return no("ENOMEM")
    elif grows:
        return no("EINVAL")
    for piece in space.inside(start, min(space.hole(start, end), end)):
        if int(prot & 7) & ~(int(piece.flags) >> 4) & 7:
            return no("EACCES")
        changes = (int(piece.flags) & 7) != prot & 7
        if changes and cuts_special(space, max(piece.start, start), min(piece.end, end)):
            return no("EINVAL")
    return (OK,) if space.hole(start, end) == end else no("ENOMEM")


def mremap(space, value):
    """Grow, shrink or move, as far as it looks before it does anything."""
    flags, address = value.flags, value.address
    may_move, fixed, keeps = flags & 1, flags & 2, flags & 4
    if flags & ~7 or (fixed and not may_move):
        return no("EINVAL")
    if keeps and (not may_move or value.old_length != value.length):
        return no("EINVAL")
    old, new = up(value.old_length), up(value.length)
    if address % PAGE_SIZE or not new:
        return no("EINVAL")
    area = space.over(address)
    if area is None:
        return no("EFAULT")
    if fixed or keeps:
        return _mremap_to(space, value, old, new)
    if old > new:
        start = (address + new) % WORD
        return munmap(space, mapping.Munmap(start, old - new))
    if old == new:
        return (OK,)
    return _resize(area, address, old, new) or (OK, *no("ENOMEM", "EINVAL", "EAGAIN"))


def _resize(area, address, old, new):
    if not old and not area.flags & VmFlag.VM_MAYSHARE:
        return no("EINVAL")
    if old > area.end - address:
        return no("EFAULT")
    if new != old and area.flags & (VmFlag.VM_DONTEXPAND | VmFlag.VM_PFNMAP):
        return no("EFAULT")
    return ()


def _mremap_to(space, value, old, new):
    address, to = value.address, value.new_address
    if to % PAGE_SIZE or new > space.task_size or to > space.task_size - new:
        return no("EINVAL")
    if (address + old) % WORD > to and to + new > address:
        return no("EINVAL")
    return None  # what is in its way has gone when it looks at the rest


def madvise(space, value):
    """Advise."""
    start = value.address
    if value.advice not in advising.ADVICE or start % PAGE_SIZE:
        return no("EINVAL")
    length = up(value.length)
    end = (start + length) % WORD
    if (value.length and not length) or end < start:
        return no("EINVAL")
    if end == start:
        return (OK,)
    is_whole = space.hole(start, end) == end
    if value.advice in NEVER_REFUSED and not cuts_special(space, start, end):
        return (OK,) if is_whole else no("ENOMEM")
    return None if space.inside(start, end) else no("ENOMEM")


def mlock2(space, value):
    """Lock."""
    if value.flags & ~1:
        return no("EINVAL")
    if not space.may_lock():
        return no("EPERM")
    start = value.address // PAGE_SIZE * PAGE_SIZE
    length = up((value.length + value.address % PAGE_SIZE) % WORD)
    if not space.is_root:
        already = sum(
            min(area.end, start + length) - max(area.start, start)
            for area in space.inside(start, start + length)
            if area.flags & VmFlag.VM_LOCKED
        )
        if length + space.locked_bytes - already > space.memlock:
            return no("ENOMEM")
    answer = _lock_range(space, start, length)
    if answer != (OK,) or value.flags:
        return answer
    pieces = space.inside(start, start + length)
    may_fail = any(  # behind the end of a file, or where nothing is permitted
        not area.flags & ACCESS or (area.file is not None and not area.file.is_special)
        for area in pieces
    )
    return (OK, *no("ENOMEM")) if may_fail else (OK,)


def munlock(space, value):
    """Unlock."""
    start = value.address // PAGE_SIZE * PAGE_SIZE
    return _lock_range(space, start, up((value.length + value.address % PAGE_SIZE) % WORD))


def _lock_range(space, start, length):
    end = (start + length) % WORD
    if end < start:
        return no("EINVAL")
    if end == start:
        return (OK,)
    return (OK,) if space.hole(start, end) == end else no("ENOMEM")


def mlockall(space, value):
    """Lock all."""
    flags = value.flags
    if not flags or flags & ~7 or flags == locking.MCL_ONFAULT:
        return no("EINVAL")
    if not space.may_lock():
        return no("EPERM")
    total = sum(area.end - area.start for area in space.areas)
    if flags & locking.MCL_CURRENT and not space.is_root and total > space.memlock:
        return no("ENOMEM")
    return (OK,)


def mincore(space, value):
    """Ask what is in memory. Bytes mean success."""
    start, length = value.address, value.length
    if start % PAGE_SIZE:
        return no("EINVAL")
    if length > space.task_size or start > space.task_size - length:
        return no("ENOMEM")
    end = start + up(length)
    return (OK,) if space.hole(start, end) == end else no("ENOMEM")


def msync(space, value):
    """Write what was stored."""
    flags, start = value.flags, value.address
    if flags & ~7 or start % PAGE_SIZE or flags & 5 == 5:
        return no("EINVAL")
    length = up(value.length)
    end = (start + length) % WORD
    if end < start:
        return no("ENOMEM")
    is_busy = flags & advising.MS_INVALIDATE and any(
        area.flags & VmFlag.VM_LOCKED for area in space.inside(start, end)
    )
    if is_busy:
        return no("EBUSY", "ENOMEM", "EIO")
    return (OK, *no("EIO")) if space.hole(start, end) == end else no("ENOMEM", "EIO")


def _policy_errors(space, value, *, early):
    """Return whether a policy is refused: at once, or when it is made."""
    nodes = set(value.nodes)
    if early:
        return (value.static and value.relative) or any(
            not 0 <= nid < MAX_NUMNODES for nid in nodes
        )
    if value.mode == MPOL_DEFAULT:
        return bool(nodes)
    if value.mode == MPOL_LOCAL or (value.mode == MPOL_PREFERRED and not nodes):
        return bool(nodes) or value.static or value.relative
    return not (nodes if value.relative else nodes & set(space.with_memory))


def mbind(space, value):
    """Give a range a policy."""
    if _policy_errors(space, value, early=True):
        return no("EINVAL")
    if value.move_all and not space.is_root:
        return no("EPERM")
    start, length = value.address, up(value.length)
    end = (start + length) % WORD
    if start % PAGE_SIZE or end < start:
        return no("EINVAL")
    if end == start:
        return (OK,)
    if _policy_errors(space, value, early=False):
        return no("EINVAL")
    if not space.inside(start, end):
        return no("EFAULT")
    if value.mode != MPOL_DEFAULT and space.hole(start, end) != end:
        return no("EFAULT", "EIO")
    return (OK, *no("EIO", "EINVAL"))


def set_mempolicy(space, value):
    """Have a policy."""
    wrong = any(_policy_errors(space, value, early=early) for early in (True, False))
    return no("EINVAL") if wrong else (OK,)


def set_mempolicy_home_node(space, value):
    """Let policies look at a node first."""
    start, length = value.address, up(value.length)
    if start % PAGE_SIZE or value.home_node not in space.with_memory:
        return no("EINVAL")
    end = (start + length) % WORD
    if end < start:
        return no("EINVAL")
    if end == start:
        return (OK,)
    has_policy = any(area.policy is not None for area in space.inside(start, end))
    return (OK, *no("EOPNOTSUPP", "EINVAL")) if has_policy else no("ENOENT")


def move_pages(space, value):
    """Move pages."""
    if value.move_all and not space.is_root:
        return no("EPERM")
    return None


BY_VALUE = {
    mapping.Mmap: mmap,
    mapping.Munmap: munmap,
    protecting.Mprotect: mprotect,
    protecting.Mremap: mremap,
    advising.Madvise: madvise,
    advising.Msync: msync,
    advising.MincoreRange: mincore,
    locking.Mlock2: mlock2,
    locking.Munlock: munlock,
    locking.MlockallFlags: mlockall,
    mempolicy.Mbind: mbind,
    mempolicy.SetMempolicy: set_mempolicy,
    mempolicy.SetMempolicyHomeNode: set_mempolicy_home_node,
    migrating.MovePages: move_pages,
}


def expected(space, value):
    """Return the answers a call may give, 0 for any success; None where that is not foretold."""
    judge = BY_VALUE.get(type(value))
    return None if judge is None else judge(space, value)
