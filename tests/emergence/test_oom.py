"""Out of memory: the OOM killer takes the process with the most to give, and its memory is back."""

import pytest

from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.core.vmstat import OOM_KILL
from tests.small_machine import PAGE, free_pages, run, small_machine

pytestmark = [pytest.mark.mission("A9"), pytest.mark.mission("R12")]

SIGKILL = 9


async def fill(machine, process, left_pages):
    """Let a process write until so many pages are free."""
    nr_pages = free_pages(machine) - left_pages
    region = await process.mmap(nr_pages * PAGE)
    await process.touch(region, write=True)


def scenario(*, small_adj: int = 0, large_adj: int = 0):
    """Fill a machine without swap by one large process, then let a small one ask for more.

    The result is (statuses of large and small, free pages before and after the kill, pages of the
    large one, the small one's last touch).
    """

    async def main(machine):
        large = await machine.spawn("large", oom_score_adj=large_adj)
        small = await machine.spawn("small", oom_score_adj=small_adj)
        await fill(machine, large, 600)
        of_large = large.stats.rss_pages
        before = free_pages(machine)
        region = await small.mmap(900 * PAGE)
        touched = await small.touch(region, write=True)
        after = free_pages(machine)
        return (large.exit_status, small.exit_status), before, after, of_large, touched

    return run(small_machine(), main)


def test_the_largest_process_is_killed_and_its_memory_comes_back():
    """The asker is not the victim, gets its pages, and what is left of the victim's is free."""
    done = scenario()
    statuses, before, after, of_large, touched = done.result
    assert statuses == (-SIGKILL, None)
    assert (touched.minflt, touched.signal) == (900, 0)
    assert after > before + of_large - 900
    assert done.machine.mem.vm_event[OOM_KILL] == 1


def test_a_protected_process_is_spared():
    """oom_score_adj -1000 is never killed: the small one dies of its own request."""
    done = scenario(large_adj=-1000)
    statuses, _, _, _, touched = done.result
    assert statuses == (None, -SIGKILL)
    assert touched.signal == SIGKILL
    assert done.machine.mem.vm_event[OOM_KILL] == 1


@pytest.mark.parametrize(("adj", "victim"), [(900, "large"), (950, "small")])
def test_oom_score_adj_counts_as_pages(adj, victim):
    """A point is a thousandth of all pages, rounded down: here 3; the processes differ by 2780."""
    done = scenario(small_adj=adj)
    assert done.machine.kernel.phys.totalram_pages // 1000 == 3
    (report,) = [line for _, line in done.machine.kernel.dmesg if line.startswith("oom-kill:")]
    assert f"task={victim}," in report


def test_nobody_is_killed_while_swap_has_room():
    """With swap the same requests are served by reclaim."""

    async def main(machine):
        large = await machine.spawn("large")
        await fill(machine, large, 600)
        small = await machine.spawn("small")
        return await small.touch(await small.mmap(900 * PAGE), write=True)

    done = run(small_machine(swap="16M"), main)
    assert (done.result.signal, done.machine.mem.vm_event[OOM_KILL]) == (0, 0)


def test_the_kernel_panics_when_nobody_may_be_killed():
    """A machine whose only process is protected stops with the kernel's last words."""

    async def main(machine):
        only = await machine.spawn("only", oom_score_adj=-1000)
        for _ in range(2):  # at once it would be refused
            await only.touch(await only.mmap("12M"), write=True)

    done = run(small_machine(), main)
    assert done.machine.ended.detail == "System is deadlocked on memory"
    assert done.machine.mem.zone[:, Z_FREE].sum() < 200
