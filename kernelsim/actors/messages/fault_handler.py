"""What a page-fault handler hears, and what it answers.

Units: pages, ns.
"""

import msgspec

from kernelsim.mm.space.mmap import VmArea


class PageFault(msgspec.Struct, frozen=True, gc=False):
    """An access that cannot go on.

    Attributes:
        vpn: Virtual page number that faulted.
        nr: Touches the program will make from there on, the fault handler may serve them at once.
        stride: Pages between two touches.
        write: It is a store.
        vma: The area it lies in; it permits the access.
        token: What a store writes.
    """

    vpn: int
    nr: int
    stride: int
    write: bool
    vma: VmArea
    token: int


class FaultResult(msgspec.Struct, frozen=True, gc=False):
    """What was done.

    Attributes:
        nr: Touches served, from the first on; 0 only when the process is being killed.
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        user_ns: Time of the accesses themselves, to be spent in user mode.
    """

    nr: int
    minflt: int
    majflt: int
    user_ns: int
