"""Writing tunables of a running machine.

Interface: `write_sysctl` puts a value into force and has computed what depends on it; reading is
`kernel.sysctl`. `boot_sysctls` is called once, when the machine is made.
Units: as the kernel's.
"""

from typing import Final

from kernelsim.actors.core.kernel import Kernel, wakeup_flusher_threads
from kernelsim.config import sysctl_write
from kernelsim.fs.fs_writeback import WbReason
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.page.node_reclaim import set_node_reclaim
from kernelsim.mm.page.zone_marks import ON_WRITE, set_numa_stat
from kernelsim.mm.reclaim.lru_gen_aging import lru_gen_change_state
from kernelsim.mm.space.util import OVERCOMMIT_NEVER, init_reserves
from kernelsim.units import KIB, PAGE_SIZE

DIRTY_LIMITS: Final = ("vm.dirty_ratio", "vm.dirty_bytes")


def boot_sysctls(kernel: Kernel) -> None:
    """Put the tunables a machine boots with into force, beyond what its memory was built by."""
    free_kbytes = int(kernel.mem.zone[:, Z_FREE].sum()) * (PAGE_SIZE // KIB)
    init_reserves(kernel.phys.tunables, free_kbytes)
    set_numa_stat(kernel.phys)
    lru_gen_change_state(kernel.mem, kernel.sysctl.lru_gen_enabled)
    set_node_reclaim(kernel.phys)


def write_sysctl(kernel: Kernel, name: str, value: object) -> None:
    """Write a tunable, by the kernel's key, and compute afresh what depends on it.

    Raises:
        ConfigError: No such tunable, or a value the kernel refuses with EINVAL.
    """
    tunables = kernel.phys.tunables
    written = sysctl_write.write_sysctl(tunables.now, name, value, kernel.phys.era)
    # Differs from Linux: Writing the value that is in force changes nothing. Linux computes the
    # watermarks afresh then, from the memory of now; those of boot come from less
    # (mm/boot/mm_init.py).
    if written == tunables.now:
        return
    tunables.now = written
    if name == "vm.min_free_kbytes" and written.vm_min_free_kbytes is not None:
        kernel.phys.user_min_free_kbytes = written.vm_min_free_kbytes
    on_write = ON_WRITE.get(name)
    if on_write is not None:
        on_write(kernel.phys)
    elif name == "vm.overcommit_memory" and written.vm_overcommit_memory == OVERCOMMIT_NEVER:
        kernel.mms.commit.sync()
    elif name in DIRTY_LIMITS:
        kernel.writeback.set_ratelimit()
    elif name == "lru_gen.enabled":
        kernel.observer.switches_lru()
        lru_gen_change_state(kernel.mem, written.lru_gen_enabled)
    elif name == "vm.compaction_proactiveness" and written.vm_compaction_proactiveness:
        # Source: Linux 6.1 mm/compaction.c:compaction_proactiveness_sysctl_handler
        for nid in range(len(kernel.compaction.states)):
            kernel.compaction.wake(nid)
    elif name == "vm.dirty_writeback_centisecs" and written.vm_dirty_writeback_centisecs:
        wakeup_flusher_threads(kernel, WbReason.WB_REASON_PERIODIC)
