"""Overcommit: how much memory may be promised.

Linux: mm/util.c (6.1): __vm_enough_memory, vm_commit_limit; sysctls vm.overcommit_*.
Differs: the committed pages are exact; Linux's per-cpu counter may be off by a batch.

Interface: one `CommitAccount` a machine, charged by every `MmStruct`. The fields of totals and
sysctls are written by the machine when memory, swap or a sysctl changes.
Units: pages; kilobytes where the name says so.
"""

from typing import Final

import attrs

from kernelsim.units import PAGE_SHIFT

OVERCOMMIT_GUESS: Final = 0  # refuse what can never be there
OVERCOMMIT_ALWAYS: Final = 1
OVERCOMMIT_NEVER: Final = 2  # refuse beyond CommitLimit

KB_SHIFT: Final = PAGE_SHIFT - 10


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
        committed_pages: Committed_AS without this request.
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
    return committed_pages + pages < allowed


@attrs.define(kw_only=True)
class CommitAccount:
    """Promised memory of the whole machine and what limits it."""

    totalram_pages: int
    total_swap_pages: int = 0
    hugetlb_pages: int = 0
    overcommit_memory: int = OVERCOMMIT_GUESS
    overcommit_ratio: int = 50
    overcommit_kbytes: int = 0
    admin_reserve_kbytes: int = 8192
    user_reserve_kbytes: int = 131072
    committed_pages: int = 0
    """Committed_AS of /proc/meminfo."""

    def commit_limit(self) -> int:
        """Return CommitLimit in pages."""
        return vm_commit_limit(
            totalram_pages=self.totalram_pages,
            total_swap_pages=self.total_swap_pages,
            overcommit_ratio=self.overcommit_ratio,
            overcommit_kbytes=self.overcommit_kbytes,
            hugetlb_pages=self.hugetlb_pages,
        )

    def charge(self, pages: int, *, mm_total_vm: int, cap_sys_admin: bool) -> bool:
        """Promise `pages` more if allowed; nothing changes when it returns False."""
        enough = vm_enough_memory(
            pages,
            self.overcommit_memory,
            totalram_pages=self.totalram_pages,
            total_swap_pages=self.total_swap_pages,
            commit_limit=self.commit_limit(),
            committed_pages=self.committed_pages,
            mm_total_vm=mm_total_vm,
            admin_reserve_kbytes=self.admin_reserve_kbytes,
            user_reserve_kbytes=self.user_reserve_kbytes,
            cap_sys_admin=cap_sys_admin,
        )
        if enough:
            self.committed_pages += pages
        return enough

    def uncharge(self, pages: int) -> None:
        """Take a promise back."""
        self.committed_pages -= pages
        assert self.committed_pages >= 0, "more memory was given back than was promised"
