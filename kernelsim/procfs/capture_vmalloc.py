"""What /proc shows of vmalloc, taken from the running machine.

Linux: mm/vmalloc.c:vmalloc_info_show, fs/proc/meminfo.c, 6.1.
Differs: The file /proc/vmallocinfo names the task that asked for an area, not the function, and
has no areas that were made at boot.
"""

from collections import Counter

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.mem import nids_of
from kernelsim.procfs.snapshot import VmallocArea


def vmalloc_total_kb(kernel: Kernel) -> int:
    """Return the size of the vmalloc area in kB."""
    layout = kernel.init_mm.layout
    return layout.vmalloc_end - layout.vmalloc_start >> 10


def capture_vmallocinfo(kernel: Kernel) -> tuple[VmallocArea, ...]:
    """Return the areas in use, rising, then those that wait for a TLB flush."""
    init_mm = kernel.init_mm
    used = []
    for address, vm in sorted(init_mm.vms.items()):
        of_node = Counter(nids_of(kernel.mem, vm.pfns).tolist()) if kernel.spec.is_numa else {}
        area = VmallocArea(
            start=address,
            end=address + vm.size,
            caller=vm.caller,
            nr_pages=len(vm.pfns),
            has_vpages=vm.array != 0,
            pages_of_node=dict(sorted(of_node.items())),
        )
        used.append(area)
    freed = (VmallocArea(start=start, end=end) for start, end in init_mm.areas.unpurged())
    return (*used, *freed)
