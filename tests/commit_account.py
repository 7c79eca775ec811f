"""What tests promise memory by: the account of a machine, where no sysctl matters or they set it.

Interface: `commit_account`.
Units: pages.
"""

from kernelsim.config.sysctl import Sysctl
from kernelsim.mm.core.tunables import Tunables
from kernelsim.mm.space.util import OVERCOMMIT_GUESS, CommitAccount


def commit_account(
    totalram_pages: int, *, total_swap_pages: int = 0, overcommit_memory: int = OVERCOMMIT_GUESS
) -> CommitAccount:
    """Return an account with the reserves of a machine with a few GB."""
    sysctl = Sysctl(
        vm_overcommit_memory=overcommit_memory,
        vm_user_reserve_kbytes=131_072,
        vm_admin_reserve_kbytes=8192,
    )
    return CommitAccount(
        totalram_pages=totalram_pages,
        tunables=Tunables(sysctl),
        total_swap_pages=total_swap_pages,
    )
