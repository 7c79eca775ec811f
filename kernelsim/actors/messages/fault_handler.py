"""What a page-fault handler hears, and what it answers.

Units: pages, ns.
"""

from typing import Final

import msgspec

from kernelsim.mm.space.mmap import VmArea

KEEP: Final = -1  # token of a store that changes nothing: a page is only to be made writable


class PageFault(msgspec.Struct, frozen=True, gc=False):
    """An access that cannot go on.

    Attributes:
        vpn: Virtual page number that faulted.
        write: It is a store.
        vma: The area it lies in; it permits the access.
        token: What a store writes; KEEP for what is there already.
        entered_ns: When the kernel was entered for it, if that has been paid for; -1 if not.
        lock_ns: Time it has spent since then with locks, and work under them.
    """

    vpn: int
    write: bool
    vma: VmArea
    token: int
    entered_ns: int = -1
    lock_ns: int = 0


class FaultResult(msgspec.Struct, frozen=True, gc=False):
    """What was done.

    Attributes:
        is_served: The access is done; if not, it has to be tried again, or the process is killed.
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        user_ns: Time of the access itself, to be spent in user mode.
        signal: The signal it raises instead, 0 for none.
        why: Why it raises one.
        nid: Node of the memory it accesses, where accesses queue for a bus.
        rss: What it adds to MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES; None for what
            its kind says.
    """

    is_served: bool
    minflt: int
    majflt: int
    user_ns: int
    signal: int = 0
    why: str = ""
    nid: int = 0
    rss: tuple[int, int, int, int] | None = None
