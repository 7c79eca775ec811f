"""Tests of exec: images that cannot be loaded or started, and what a new program begins with."""

import pytest

from kernelsim.actors.alloc.page_allocator import NOTHING
from kernelsim.actors.core.signal import SIGKILL, SIGSEGV, send_signal
from kernelsim.actors.process.calls.life import Sigaction
from kernelsim.actors.space import address_space
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.trace.ks import ks_process_exit
from tests.small_machine import PAGE, free_pages, run, small_machine

STRICT = {"vm.overcommit_memory": 2}  # mm/util.c: nothing beyond the commit limit


async def use_up_the_limit(machine):
    """Map what may be mapped; each process may have a little more than one that has much."""
    while True:
        hog = await machine.spawn("hog")
        for size in ("1M", PAGE):
            try:
                while True:
                    await hog.mmap(size)
            except SyscallError:
                continue
            except ProcessEndedError:
                return hog


async def can_map(process):
    """Map a page; return whether it was given."""
    try:
        await process.mmap(PAGE)
    except SyscallError:
        return False
    return True


def exits(done, name):
    """Return the statuses with which processes of a name have ended, one for each time."""
    events = done.log.named(ks_process_exit.event)
    return [event.fields["exit_code"] for event in events if event.fields["comm"] == name]


def test_a_process_whose_image_does_not_fit_is_killed():
    """As by exec: SIGSEGV, once, its memory is given back, and the run goes on."""

    async def main(machine):
        last = await use_up_the_limit(machine)
        before = free_pages(machine) + int(machine.mem.pcp_count.sum())
        stillborn = await machine.spawn("stillborn", lambda process: process.mmap("1M"))
        assert (last.exit_status, stillborn.exit_status) == (-SIGSEGV, -SIGSEGV)
        assert await stillborn.wait() == -SIGSEGV
        with pytest.raises(ProcessEndedError, match="was killed by SIGSEGV"):
            await stillborn.start_image()
        assert free_pages(machine) + int(machine.mem.pcp_count.sum()) == before
        await machine.sleep("1s")
        return machine.now_ns

    done = run(small_machine(sysctl=STRICT), main)
    assert done.result > 10**9
    assert exits(done, "stillborn") == [-SIGSEGV]
    assert [-SIGSEGV] == exits(done, "hog")


def test_a_program_that_gets_no_heap_ends_once():
    """It touches what it was not given; what comes after that in its start does not happen."""

    async def main(machine):
        late = await machine.spawn("late")
        await use_up_the_limit(machine)
        while await can_map(late):  # what the last one gave back
            pass
        with pytest.raises(ProcessEndedError):
            await late.start_image()
        assert await late.wait() == -SIGSEGV
        assert late.stats.rss_pages == 0
        return late.stats.pgfault

    done = run(small_machine(sysctl=STRICT), main)
    assert done.result < 20  # its stack and data; neither fork's faults nor the file's
    assert exits(done, "late") == [-SIGSEGV]


def test_addresses_come_from_the_seed():
    """The same seed gives the same addresses, another seed others; mode 0 those of every run."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.start_image()
        area = await process.mmap("1M")
        mm = process._process.mm
        return area.address, mm.start_stack, mm.start_brk

    found = {
        (seed, mode): run(
            small_machine(sysctl={"kernel.randomize_va_space": mode}), main, seed=seed
        ).result
        for seed in (1, 2)
        for mode in (0, 1, 2)
    }
    again = run(small_machine(), main, seed=1).result
    assert again == found[1, 2]
    assert all(a != b for a, b in zip(found[1, 2], found[2, 2], strict=True))
    assert found[1, 0] == found[2, 0]
    assert found[1, 1][2] == found[1, 0][2]
    assert found[1, 1][:2] == found[1, 2][:2]


async def entry_of(machine, **spawn):
    """Return a process and its entry."""
    process = await machine.spawn("p", **spawn)
    return process, machine.kernel.processes[process.pid]


def test_a_program_of_its_own_keeps_limits_and_loses_privileges_handlers_and_counts():
    """What belongs to the process stays; what belongs to its old memory goes."""

    async def main(machine):
        process, entry = await entry_of(machine)
        await process.start_image()
        process.uid = 1000
        await process.syscall("setrlimit", "MEMLOCK", 16 * PAGE)
        await entry.ref.ask(Sigaction())
        await process.touch(await process.mmap(30 * PAGE), write=True)
        assert (entry.mm.image_rss_pages, any(entry.task.rss_stat.pending)) != (0, False)
        await process.exec("other")
        mm = entry.mm
        return (
            mm.rlimits.memlock,
            (mm.cap_sys_admin, mm.cap_ipc_lock),
            entry.catches_faults,
            entry.task.rss_stat.pending,
            mm.image_rss_pages,
        )

    expected = (16 * PAGE, (False, False), False, [0] * 4, 0)
    assert run(small_machine(), main).result == expected


def test_memory_of_the_old_program_is_given_back_before_the_new_one_asks():
    """With strict overcommit two of them would not fit; one does."""

    async def main(machine):
        process, _ = await entry_of(machine)
        before = machine.kernel.mms.commit.committed_pages
        while await can_map(process):
            pass
        await process.exec("other")
        return before == machine.kernel.mms.commit.committed_pages, process.exit_status

    assert run(small_machine(sysctl=STRICT), main).result == (True, None)


def test_the_steps_of_an_access_are_those_of_the_program_that_runs():
    """Its page is found in its own page tables."""

    async def main(machine):
        process, entry = await entry_of(machine)
        await process.exec("other")
        region = await process.mmap(PAGE)
        await process.touch(region, write=True)
        pfn = pte_pfn(pte_at(*machine.kernel.space, entry.mm.number, region.address >> 12))
        found = await process.access(region.address)
        return pfn * PAGE in {step.address for step in found.steps}

    assert run(small_machine(), main).result


def test_one_that_is_killed_while_exec_waits_for_memory_ends_as_what_it_was(monkeypatch):
    """There is no page for its top table, and nothing is left of the attempt."""

    async def main(machine):
        process, entry = await entry_of(machine)
        alloc_pages = address_space.alloc_pages

        async def killed(current, *rest):
            if current.task is entry.task:
                send_signal(machine.kernel, entry, SIGKILL)
                return NOTHING
            return await alloc_pages(current, *rest)

        monkeypatch.setattr(address_space, "alloc_pages", killed)
        with pytest.raises(ProcessEndedError, match="SIGKILL"):
            await process.exec("other")
        return process.name, await process.wait(), len(machine.kernel.mms.by_number)

    assert run(small_machine(), main).result == ("p", -SIGKILL, 0)


def test_tasks_that_share_memory_have_the_same_image():
    """The program's file is mapped once, for all of them; the OOM killer sees that."""

    async def main(machine):
        process, entry = await entry_of(machine)
        await process.start_image()
        thread = await process.fork(shares_vm=True)
        mms = machine.kernel.mms
        shown = [machine.proc(f"{each.pid}/statm") for each in (process, thread)]
        assert shown[0] == shown[1]  # though only one of them keeps back what it has not added
        tasks = [each.oom_task(mms) for each in (entry, entry.children[thread.pid])]
        return [task.rss_file for task in tasks]

    one, other = run(small_machine(), main).result
    assert one == other != 0
