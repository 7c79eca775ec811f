"""Putting tunables into force: what the kernel computes afresh when one is written.

Linux: the proc handlers of mm/page_alloc.c, mm/vmstat.c and mm/util.c, 6.1.
Tunables that are read where they are used (swappiness, page-cluster, those of the OOM killer) need
nothing here.
Interface: `boot_sysctls` once, when the machine is made; `write_sysctl` for each write after that;
`sysctl_in_force` reads one.
Units: as the kernel's.
"""

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.config import sysctl_write
from kernelsim.config.sysctl import SYSCTLS, SysctlValue
from kernelsim.mm.core.mem import Z_FREE, Z_NUMA_STAT_OFF, Z_WATERMARK_BOOST_FACTOR
from kernelsim.mm.page.zone_marks import (
    set_pcp_sizes,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)
from kernelsim.units import KIB, PAGE_SIZE

USER_RESERVE_KBYTES_MAX = 131_072  # KiB; mm/mmap.c:init_user_reserve
ADMIN_RESERVE_KBYTES_MAX = 8192  # KiB; mm/mmap.c:init_admin_reserve
RESERVE_FRACTION = 32  # of free memory


def boot_sysctls(kernel: Kernel) -> None:
    """Put the tunables a machine boots with into force, beyond what its memory was built by.

    Source: Linux 6.1 mm/mmap.c:init_user_reserve, :init_admin_reserve
    """
    commit = kernel.mms.commit
    free_kbytes = int(kernel.mem.zone[:, Z_FREE].sum()) * (PAGE_SIZE // KIB)
    share_kbytes = free_kbytes // RESERVE_FRACTION
    commit.user_reserve_kbytes = min(share_kbytes, USER_RESERVE_KBYTES_MAX)
    commit.admin_reserve_kbytes = min(share_kbytes, ADMIN_RESERVE_KBYTES_MAX)
    _apply_overcommit(kernel)
    _apply_numa_stat(kernel)


def write_sysctl(kernel: Kernel, name: str, value: object) -> None:
    """Write a tunable, by the kernel's key, and recompute what depends on it.

    Raises:
        ConfigError: No such tunable, or a value the kernel refuses with EINVAL.

    Source: Linux 6.1 mm/page_alloc.c:min_free_kbytes_sysctl_handler and its neighbours
    """
    kernel.sysctl = sysctl_write.write_sysctl(kernel.sysctl, name, value)
    attribute = SYSCTLS[name].attribute
    if attribute in ("vm_min_free_kbytes", "vm_watermark_scale_factor"):
        setup_per_zone_wmarks(kernel.phys, kernel.sysctl)
    elif attribute == "vm_watermark_boost_factor":  # a boost there is stays
        factor = kernel.sysctl.vm_watermark_boost_factor
        kernel.mem.zone[:, Z_WATERMARK_BOOST_FACTOR] = factor
    elif attribute == "vm_percpu_pagelist_high_fraction":
        for row in kernel.mem.zone:
            set_pcp_sizes(kernel.phys, row, kernel.sysctl)
    elif attribute == "vm_lowmem_reserve_ratio":
        setup_per_zone_lowmem_reserve(kernel.phys, kernel.sysctl)
    elif attribute == "vm_numa_stat":
        _apply_numa_stat(kernel)
    elif attribute == "vm_max_map_count":
        for mm in kernel.mms.by_number.values():
            mm.max_map_count = kernel.sysctl.vm_max_map_count
    else:
        _apply_overcommit(kernel)


def sysctl_in_force(kernel: Kernel, name: str) -> SysctlValue:
    """Return a tunable by the kernel's key; one the kernel computes, as it computed it."""
    commit = kernel.mms.commit
    computed = {
        "vm.min_free_kbytes": kernel.phys.min_free_kbytes,
        "vm.user_reserve_kbytes": commit.user_reserve_kbytes,
        "vm.admin_reserve_kbytes": commit.admin_reserve_kbytes,
    }
    value: SysctlValue = getattr(kernel.sysctl, SYSCTLS[name].attribute)
    return computed[name] if value is None else value


def _apply_overcommit(kernel: Kernel) -> None:
    sysctl, commit = kernel.sysctl, kernel.mms.commit
    commit.overcommit_memory = sysctl.vm_overcommit_memory
    commit.overcommit_ratio = sysctl.vm_overcommit_ratio
    commit.overcommit_kbytes = sysctl.vm_overcommit_kbytes
    if sysctl.vm_admin_reserve_kbytes is not None:
        commit.admin_reserve_kbytes = sysctl.vm_admin_reserve_kbytes
    if sysctl.vm_user_reserve_kbytes is not None:
        commit.user_reserve_kbytes = sysctl.vm_user_reserve_kbytes


def _apply_numa_stat(kernel: Kernel) -> None:
    """Stop counting where requests were served, and forget what was counted; or count again.

    Source: Linux 6.1 mm/vmstat.c:sysctl_vm_numa_stat_handler
    """
    off = not kernel.sysctl.vm_numa_stat
    kernel.mem.zone[:, Z_NUMA_STAT_OFF] = np.int64(off)
    if off:
        kernel.mem.numa_stat[:] = 0
