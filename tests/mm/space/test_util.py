"""Overcommit: the three modes and CommitLimit."""

import pytest

from kernelsim.mm.space.util import (
    OVERCOMMIT_ALWAYS,
    OVERCOMMIT_GUESS,
    OVERCOMMIT_NEVER,
    CommitAccount,
    vm_commit_limit,
)
from kernelsim.units import GIB, PAGE_SIZE
from tests.commit_account import commit_account

GIB_PAGES = GIB // PAGE_SIZE


def charge(account: CommitAccount, pages: int, total_vm: int = 0, *, root: bool = True) -> bool:
    """Ask for pages."""
    return account.charge(pages, mm_total_vm=total_vm, cap_sys_admin=root)


@pytest.mark.mission("V17")
def test_guess_refuses_more_than_ram_and_swap() -> None:
    """2 GB of RAM without swap: 4 GB at once fail, 2 GB succeed, again and again."""
    account = commit_account(2 * GIB_PAGES, overcommit_memory=OVERCOMMIT_GUESS)
    assert not charge(account, 4 * GIB_PAGES)
    assert charge(account, 2 * GIB_PAGES)
    assert charge(account, 2 * GIB_PAGES)
    assert account.committed_pages == 4 * GIB_PAGES
    account.total_swap_pages = 2 * GIB_PAGES
    assert charge(account, 4 * GIB_PAGES)


@pytest.mark.mission("V17")
def test_always_never_refuses() -> None:
    """Mode 1 promises anything."""
    account = commit_account(2 * GIB_PAGES, overcommit_memory=OVERCOMMIT_ALWAYS)
    assert charge(account, 4 * GIB_PAGES)
    assert charge(account, 1 << 35)


@pytest.mark.mission("V17")
def test_never_stops_below_the_commit_limit() -> None:
    """Mode 2: what is promised stays below CommitLimit less the user's reserve.

    As far as the CPU has told: 2048 pages less one, 1/256 of memory, it may keep to itself.
    """
    account = commit_account(
        2 * GIB_PAGES, total_swap_pages=GIB_PAGES, overcommit_memory=OVERCOMMIT_NEVER
    )
    assert account.commit_limit() == 2 * GIB_PAGES
    assert not charge(account, 2 * GIB_PAGES)
    assert charge(account, 2 * GIB_PAGES - 1)
    account.uncharge(account.committed_pages)
    reserve = 131072 // 4
    assert charge(account, 2 * GIB_PAGES - reserve - 1, total_vm=1 << 30)
    assert not charge(account, 2048, total_vm=1 << 30)
    assert charge(account, 2047, total_vm=1 << 30)
    assert not charge(account, 1, total_vm=1 << 30)
    assert charge(account, 1, total_vm=0)
    assert account.committed_pages == 2 * GIB_PAGES - reserve + 2047


def test_others_than_root_leave_the_admin_reserve() -> None:
    """8 MB are kept for root; a refused request changes nothing."""
    account = commit_account(2 * GIB_PAGES, overcommit_memory=OVERCOMMIT_NEVER)
    assert not charge(account, GIB_PAGES - 2048, root=False)
    assert account.committed_pages == 0
    assert charge(account, GIB_PAGES - 2049, root=False)


def test_commit_limit_by_ratio_or_kilobytes() -> None:
    """The ratio counts RAM without huge pages; kilobytes replace it; swap is always added."""
    sizes = {"totalram_pages": 1000, "total_swap_pages": 50}
    assert vm_commit_limit(**sizes, overcommit_ratio=50) == 550
    assert vm_commit_limit(**sizes, overcommit_ratio=33, hugetlb_pages=100) == 347
    assert vm_commit_limit(**sizes, overcommit_ratio=50, overcommit_kbytes=41) == 60
