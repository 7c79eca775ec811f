"""Overcommit: how much memory may be promised.

Linux: mm/util.c (6.1): __vm_enough_memory, vm_commit_limit; sysctls vm.overcommit_*.
What mode 2 compares is a counter each CPU keeps a part of to itself; Committed_AS adds them up.

Interface: one `CommitAccount` a machine, charged by every `MmStruct`; `init_reserves` at boot. The
totals are written by the machine when memory or swap changes.
Units: pages; kilobytes where the name says so.
"""

from typing import Final

import attrs

from kernelsim.config.sysctl import Sysctl
from kernelsim.mm.core.tunables import Tunables
from kernelsim.units import PAGE_SHIFT

OVERCOMMIT_GUESS: Final = 0  # refuse what can never be there
OVERCOMMIT_ALWAYS: Final = 1
OVERCOMMIT_NEVER: Final = 2  # refuse beyond CommitLimit

KB_SHIFT: Final = PAGE_SHIFT - 10
USER_RESERVE_KBYTES_MAX: Final = 131_072  # KiB; mm/mmap.c:init_user_reserve
ADMIN_RESERVE_KBYTES_MAX: Final = 8192  # KiB; mm/mmap.c:init_admin_reserve
RESERVE_FRACTION: Final = 32  # of free memory
NEVER_SHARE: Final = 256  # of a CPU's part of memory that it may keep to itself in mode 2
OTHER_SHARE: Final = 4  # and in the others; mm/mm_init.c:mm_compute_batch
BATCH_MIN: Final = 32


def init_reserves(tunables: Tunables, free_kbytes: int) -> None:
    """Compute the reserves of root and of a user, unless the machine boots with values.

    Args:
        tunables: Of the machine.
        free_kbytes: Free memory when it has booted, KiB.

    Source: Linux 6.1 mm/mmap.c:init_user_reserve, :init_admin_reserve
    """
    now, share_kbytes = tunables.now, free_kbytes // RESERVE_FRACTION
    if now.vm_user_reserve_kbytes is None:
        user_kbytes = min(share_kbytes, USER_RESERVE_KBYTES_MAX)
        now = attrs.evolve(now, vm_user_reserve_kbytes=user_kbytes)
    if now.vm_admin_reserve_kbytes is None:
        admin_kbytes = min(share_kbytes, ADMIN_RESERVE_KBYTES_MAX)
        now = attrs.evolve(now, vm_admin_reserve_kbytes=admin_kbytes)
    tunables.now = now


def vm_commit_limit(
    *,
    totalram_pages: int,
    total_swap_pages: int,
    overcommit_ratio: int,
    overcommit_kbytes: int = 0,
    hugetlb_pages: int = 0,
) -> int:
    """Return CommitLimit in pages.

    Args:
        totalram_pages: Managed pages of all zones.
        total_swap_pages: Size of all active swap areas.
        overcommit_ratio: Percent of RAM that counts.
        overcommit_kbytes: RAM that counts, instead of the ratio, unless 0.
        hugetlb_pages: Pages set aside as huge pages.

    Source: Linux 6.1 mm/util.c:vm_commit_limit
    """
    if overcommit_kbytes:
        allowed = overcommit_kbytes >> KB_SHIFT
    else:
        allowed = (totalram_pages - hugetlb_pages) * overcommit_ratio // 100
    return allowed + total_swap_pages


def vm_enough_memory(
    pages: int,
    mode: int,
    *,
    totalram_pages: int,
    total_swap_pages: int,
    commit_limit: int,
    committed_pages: int,
    mm_total_vm: int,
    admin_reserve_kbytes: int,
    user_reserve_kbytes: int,
    cap_sys_admin: bool,
) -> bool:
    """Decide whether `pages` more may be promised.

    Args:
        pages: What is asked for.
        mode: vm.overcommit_memory.
        totalram_pages: Managed pages of all zones.
        total_swap_pages: Size of all active swap areas.
        commit_limit: See `vm_commit_limit`; used in mode 2 only, like all that follows.
        committed_pages: What is promised without this request, as far as the CPUs have told.
        mm_total_vm: Size of the asking process.
        admin_reserve_kbytes: Kept for root.
        user_reserve_kbytes: Kept for the user to recover with; at most 1/32 of the process.
        cap_sys_admin: The process is root's.

    Source: Linux 6.1 mm/util.c:__vm_enough_memory
    """
    if mode == OVERCOMMIT_ALWAYS:
        return True
    if mode == OVERCOMMIT_GUESS:
        return pages <= totalram_pages + total_swap_pages
    allowed = commit_limit
    if not cap_sys_admin:
        allowed -= admin_reserve_kbytes >> KB_SHIFT
    allowed -= min(mm_total_vm // 32, user_reserve_kbytes >> KB_SHIFT)
    return max(committed_pages + pages, 0) < allowed


@attrs.define(kw_only=True)
class CommitAccount:
    """Promised memory of the whole machine and what limits it."""

    totalram_pages: int
    tunables: Tunables
    total_swap_pages: int = 0
    hugetlb_pages: int = 0
    committed_pages: int = 0
    """Committed_AS of /proc/meminfo."""
    never_returned_pages: int = 0
    """Of them, those by which stacks grew that are not accounted; nobody counts them in Linux."""
    in_flight_pages: int = 0
    """Of them, those promised to pages of shared memory that are being allocated, less those of
    mappings that are moved (mremap), which are in two places for one promise."""
    nr_cpus: int = 1
    this_cpu: int = 0
    """Number of the CPU whose task is in the kernel."""
    kept: dict[int, int] = attrs.Factory(dict)
    """Pages each CPU has not added to the common counter yet."""

    @property
    def sysctl(self) -> Sysctl:
        """The tunables in force."""
        return self.tunables.now

    def commit_limit(self) -> int:
        """Return CommitLimit in pages."""
        sysctl = self.sysctl
        return vm_commit_limit(
            totalram_pages=self.totalram_pages,
            total_swap_pages=self.total_swap_pages,
            overcommit_ratio=sysctl.vm_overcommit_ratio,
            overcommit_kbytes=sysctl.vm_overcommit_kbytes,
            hugetlb_pages=self.hugetlb_pages,
        )

    def charge(self, pages: int, *, mm_total_vm: int, cap_sys_admin: bool) -> bool:
        """Promise `pages` more if allowed; nothing changes when it returns False."""
        sysctl = self.sysctl
        assert sysctl.vm_admin_reserve_kbytes is not None, "computed at boot"
        assert sysctl.vm_user_reserve_kbytes is not None, "computed at boot"
        self._add(pages)
        enough = vm_enough_memory(
            pages,
            sysctl.vm_overcommit_memory,
            totalram_pages=self.totalram_pages,
            total_swap_pages=self.total_swap_pages,
            commit_limit=self.commit_limit(),
            committed_pages=self.committed_pages - sum(self.kept.values()) - pages,
            mm_total_vm=mm_total_vm,
            admin_reserve_kbytes=sysctl.vm_admin_reserve_kbytes,
            user_reserve_kbytes=sysctl.vm_user_reserve_kbytes,
            cap_sys_admin=cap_sys_admin,
        )
        if not enough:
            self._add(-pages)
        return enough

    def _add(self, pages: int) -> None:
        """Count pages on this CPU, which tells the others when it has many.

        Source: Linux 6.1 lib/percpu_counter.c:percpu_counter_add_batch, mm/mm_init.c:
            mm_compute_batch
        """
        self.committed_pages += pages
        share = NEVER_SHARE if self.sysctl.vm_overcommit_memory == OVERCOMMIT_NEVER else OTHER_SHARE
        batch = max(self.totalram_pages // self.nr_cpus // share, self.nr_cpus * 2, BATCH_MIN)
        kept = self.kept.get(self.this_cpu, 0) + pages
        self.kept[self.this_cpu] = 0 if abs(kept) >= batch else kept

    def sync(self) -> None:
        """Have all CPUs tell what they keep, as they must when mode 2 is switched on.

        Source: Linux 6.1 mm/util.c:overcommit_policy_handler, :sync_overcommit_as
        """
        self.kept.clear()

    def recharge(self, pages: int) -> None:
        """Promise pages again that were taken back on the way; this may not fail."""
        self._add(pages)

    def uncharge(self, pages: int) -> None:
        """Take a promise back."""
        self._add(-pages)
        assert self.committed_pages >= 0, "more memory was given back than was promised"
