"""The check of kernel stacks finds what is broken, and nothing on a machine that is sound."""

import numpy as np
import pytest

from kernelsim.check.stacks import check_stacks
from kernelsim.mm.core.vmstat import NR_KERNEL_STACK
from kernelsim.mm.space.thread_stack import ThreadStack
from tests.small_machine import run, small_machine


def lose_a_stack(kernel, tasks):
    """Let a process have none."""
    tasks[0].stack = None


def share_a_stack(kernel, tasks):
    """Let two processes have the same."""
    tasks[0].stack = tasks[1].stack


def free_a_stack(kernel, tasks):
    """Let one that is used count as free."""
    del kernel.thread_stacks.in_use[tasks[0].stack.first]


def leak_a_stack(kernel, tasks):
    """Let there be one of nobody."""
    kernel.thread_stacks.in_use[7] = ThreadStack(np.arange(7, 11))


def count_a_page(kernel, tasks):
    """Count a page more."""
    kernel.mem.node_stat[0, NR_KERNEL_STACK] += 4


def keep_a_used_one(kernel, tasks):
    """Keep one for the next thread that has its owner still, beside two."""
    kernel.thread_stacks.cached[0] += [tasks[0].stack] * 3


def free_an_area(kernel, tasks):
    """Let an area of vmalloc be gone."""
    del kernel.init_mm.vms[tasks[1].stack.address]


def give_a_page_away(kernel, tasks):
    """Let a page be free."""
    kernel.mem.pages.flags[tasks[0].stack.first] = 0


BROKEN = {
    lose_a_stack: ["p-100 has no kernel stack", "1 kernel stacks belong to nobody, and 0 tasks"],
    share_a_stack: ["have the same kernel stack"],
    free_a_stack: ["has a kernel stack that is free", "nr_kernel_stack is 32, stacks have 16 kB"],
    leak_a_stack: ["belong to nobody", "is not the kernel's"],
    count_a_page: ["node 0: nr_kernel_stack is 36, stacks have 32 kB"],
    keep_a_used_one: ["belongs to two kernel stacks", "keeps too many"],
    free_an_area: ["is no area of vmalloc"],
    give_a_page_away: ["is not the kernel's"],
}


@pytest.mark.parametrize(
    ("breaks", "texts"), BROKEN.items(), ids=lambda each: getattr(each, "__name__", "")
)
def test_it_finds_what_is_broken(breaks, texts):
    """Each mistake is told, and nothing before it is made."""

    async def main(machine):
        handles = [await machine.spawn(name) for name in "pq"]
        await machine.sleep("1ms")
        tasks = [machine.kernel.processes[handle.pid].task for handle in handles]
        assert check_stacks(machine.mem, machine.kernel) == []
        breaks(machine.kernel, tasks)
        return check_stacks(machine.mem, machine.kernel)

    found = run(small_machine(), main, sound=False).result
    assert all(any(text in line for line in found) for text in texts), found
