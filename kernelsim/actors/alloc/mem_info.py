"""The block "Mem-Info" of the kernel log, of a machine as it stands now.

Linux: lib/show_mem.c:__show_mem, 6.1.
Interface: `mem_info` returns the lines.
"""

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.page.gfp import Gfp, gfp_zone
from kernelsim.mm.reclaim.show_mem import ShowMem, show_mem


def mem_info(
    kernel: Kernel, cpu: int, gfp: Gfp, nodemask: tuple[int, ...] | None = None
) -> list[str]:
    """Return what the log says of memory when a request has failed.

    Args:
        kernel: The machine.
        cpu: The CPU that prints.
        gfp: Of the request; zones it could not use are left out.
        nodemask: Nodes to be shown; None for all.
    """
    spec = kernel.spec
    shown = ShowMem(
        phys=kernel.phys,
        swap=kernel.swap,
        lruvec=kernel.lruvec,
        cpu=cpu,
        highest_zoneidx=gfp_zone(gfp, kernel.phys.zone_types),
        nodemask=nodemask,
        is_numa=spec.is_numa,
        hugepage_kb=spec.hugepage_kb,
    )
    return list(show_mem(shown))
