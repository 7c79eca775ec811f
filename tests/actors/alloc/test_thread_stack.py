"""Kernel stacks of processes on whole machines: when they take pages, and when these are free."""

import errno
import re
from pathlib import Path

import attrs
import pytest

from kernelsim.actors.core.signal import SIGKILL, send_signal
from kernelsim.actors.process.calls import forking
from kernelsim.check.machine import boot_counters
from kernelsim.check.stacks import check_stacks
from kernelsim.config.era import CLASSIC, LINUX_6_1
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.core.mem import PG_kernel
from kernelsim.oracle.case_run import machine_of_case
from tests.small_machine import pages_of_slabs, run, small_machine

pytestmark = [pytest.mark.mission("V11"), pytest.mark.mission("V8")]

CASES = Path(__file__).parents[2] / "oracle" / "cases"
KINDS = [("x86_64", LINUX_6_1, 16), ("i386", LINUX_6_1, 8), ("x86_64", CLASSIC, 8)]


def machine_of(arch, era):
    """A machine of 32 MiB."""
    return attrs.evolve(small_machine(arch=arch, memory="32M"), era=era)


def stack_kb(machine):
    """Return what all stacks in use have."""
    kb = machine.vmstat["nr_kernel_stack"]
    assert f"KernelStack:{kb:12} kB" in machine.proc("meminfo")
    return kb


def boot_apart(machine):
    """Return memory with the counters of what was born since boot."""
    mem, boot = machine.mem, boot_counters(machine.mem, machine.kernel)
    return mem._replace(node_stat=mem.node_stat - boot.node_stat)


def kernel_pages(machine):
    """Return the pages that the kernel holds, slabs and page tables apart."""
    return int((machine.mem.pages.flags & PG_kernel != 0).sum()) - pages_of_slabs(machine)


@pytest.mark.parametrize(("arch", "era", "kb"), KINDS)
def test_each_process_has_a_stack(arch, era, kb):
    """A zombie has none, but where the parent frees it; a parent that ends frees zombies'."""

    async def main(machine):
        parent = await machine.spawn("p")
        seen, before = [stack_kb(machine)], kernel_pages(machine)
        children = [await parent.fork() for _ in range(4)]
        seen.append(stack_kb(machine))
        assert kernel_pages(machine) - before == 4 * kb // 4
        await children[0].exit()
        await children[1].exit()
        await children[2].kill()
        await children[2].wait()
        seen.append(stack_kb(machine))
        await parent.waitpid(children[0])
        seen.append(stack_kb(machine))
        await parent.exit()
        seen.append(stack_kb(machine))
        await children[3].exit()
        return [kb_now // kb for kb_now in (*seen, stack_kb(machine))]

    zombies = 0 if era is LINUX_6_1 else 1
    counts = [1, 5, 2 + 3 * zombies, 2 + 2 * zombies, 1, 0]
    assert run(machine_of(arch, era), main).result == counts


def test_a_cpu_keeps_two_stacks_for_the_next():
    """The memory of two stays with the kernel; whoever is born next takes it, cleared."""

    async def main(machine):
        parent = await machine.spawn("p")
        for child in [await parent.fork() for _ in range(3)]:
            await child.exit()
            await parent.waitpid(child)
        kept = kernel_pages(machine)
        areas = set(machine.kernel.init_mm.vms)
        other = await machine.spawn("other")
        assert (kernel_pages(machine), set(machine.kernel.init_mm.vms)) == (kept, areas)
        await other.exit()
        return len(areas), machine.kernel.init_mm.nr_vmalloc_pages

    assert run(small_machine(memory="32M"), main).result == (3, 12)


def test_a_fork_without_a_stack_makes_no_child():
    """Here there is no address left; its process goes on."""

    async def main(machine):
        parent = await machine.spawn("p")
        before, init_mm = kernel_pages(machine), machine.kernel.init_mm
        room, init_mm.areas._end = init_mm.areas._end, init_mm.areas._start
        with pytest.raises(SyscallError) as raised:
            await parent.fork()
        assert raised.value.errno == errno.ENOMEM
        assert "vmap allocation for size 20480 failed" in machine.dmesg
        assert (kernel_pages(machine), list(machine.kernel.processes)) == (before, [parent.pid])
        init_mm.areas._end = room
        await parent.fork()
        return len(machine.kernel.processes)

    assert run(small_machine(memory="32M"), main).result == 2


def test_one_that_is_killed_while_it_forks_gives_the_stack_back(monkeypatch):
    """It was killed in the middle: no child, and no stack in use."""

    async def main(machine):
        parent = await machine.spawn("p")
        entry, takes = machine.kernel.processes[parent.pid], forking.dup_task_struct

        async def killed(current):
            got = await takes(current)
            send_signal(machine.kernel, entry, SIGKILL)
            return got

        monkeypatch.setattr(forking, "dup_task_struct", killed)
        with pytest.raises(ProcessEndedError):
            await parent.fork()
        return stack_kb(machine), machine.kernel.thread_stacks.in_use

    assert run(small_machine(memory="32M"), main).result == (0, {})


def test_a_recorded_machine_keeps_stacks_of_its_past():
    """Two processes take those that are kept; the next one's lies behind the areas of boot.

    Their tables are there. On a machine written by hand all are new.
    """

    async def main(machine):
        init_mm, seen = machine.kernel.init_mm, []
        before = kernel_pages(machine)
        for name in "pqr":
            await machine.spawn(name)
            used = re.search(r"VmallocUsed: +(\d+)", machine.proc("meminfo"))[1]
            seen.append((kernel_pages(machine) - before, int(used)))
        assert check_stacks(boot_apart(machine), machine.kernel) == []
        return seen, max(init_mm.vms) - init_mm.layout.vmalloc_start

    spec = small_machine(memory="32M")
    assert run(spec, main).result == ([(6, 16), (10, 32), (14, 48)], 64 << 10)
    recorded = machine_of_case(CASES / "s08")
    seen, behind = [(0, 7340), (0, 7340), (4, 7356)], -(-7340 // 16) * 16 << 10
    assert run(recorded, main, sound=False).result == (seen, behind)
