"""The OOM reaper: a victim that hangs gives its memory back, one that dies is left alone."""

import pytest

from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.units import NS_PER_S
from tests.small_machine import PAGE, free_pages, run, small_machine

pytestmark = [pytest.mark.slow, pytest.mark.mission("R12")]

REAPING = ("wake_reaper", "start_task_reaping", "finish_task_reaping", "skip_task_reaping")


def slow_machine(**more):
    """Describe a machine whose disk takes five seconds for a read, where nothing else goes on."""
    more = {"sysctl": {"vm.compaction_proactiveness": 0}, **more}
    return small_machine(cpus=("0-1",), swap="32M", disk={"read_latency": "5s"}, **more)


async def rereads(process):
    """Write more than there is memory, then wait for the first page of it to come back."""
    region = await process.mmap("16M")
    await process.touch(region, write=True)
    await process.touch(region)


async def hang(machine, **options):
    """Return a process that waits for its disk."""
    process = await machine.spawn("hangs", rereads, **options)
    while not machine.kernel.page_reads:
        await machine.sleep("1ms")
    return process


def log_of(done):
    """Return the kernel log's lines that tell of the reaper, with their times in ms."""
    return [
        (at_ns // 1_000_000, line)
        for at_ns, line in done.machine.kernel.dmesg
        if line.startswith("oom_reaper")
    ]


def test_the_memory_of_a_victim_that_waits_for_its_disk_is_taken():
    """Two seconds after the kill it is unmapped, in RAM and on swap; the process ends later."""

    async def main(machine):
        hangs = await hang(machine)
        before, resident = free_pages(machine), hangs.stats.rss_pages
        assert resident > 1500
        await ask(machine, hangs)
        await machine.sleep("1999ms")
        assert free_pages(machine) == before
        assert hangs.stats.rss_pages == resident
        await machine.sleep("100ms")
        assert free_pages(machine) > before + resident
        assert (hangs.stats.rss_pages, hangs.stats.swap_pages) == (0, 0)
        assert hangs.exit_status is None
        return hangs.pid, await hangs.wait(), machine.now_ns

    done = run(slow_machine(), main)
    pid, status, ended_ns = done.result
    assert status == -9
    [(_, line)] = log_of(done)
    assert line == (
        f"oom_reaper: reaped process {pid} (hangs), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
    )
    told = [event.event for event in done.log.events if event.event in REAPING]
    assert told == ["wake_reaper", "start_task_reaping", "finish_task_reaping"]
    [wake, start, end] = [done.log.named(name)[0].t_ns for name in REAPING[:3]]
    [kill] = [event.t_ns for event in done.log.named("mark_victim")]
    assert wake == kill + 2 * NS_PER_S
    assert wake <= start < end < ended_ns
    assert 4.9 * NS_PER_S < ended_ns - kill < 5.1 * NS_PER_S


def test_who_waits_for_the_memory_goes_on():
    """A process that cannot be served until the victim's pages come back gets them."""

    async def main(machine):
        await hang(machine, oom_score_adj=900)
        large = await machine.spawn("large")
        touched = await large.touch(await large.mmap("34M"), write=True)
        return touched.signal

    done = run(slow_machine(), main)
    assert (done.result, done.vm_events["oom_kill"], len(log_of(done))) == (0, 1, 1)


def test_unmapping_takes_cpu_time_of_its_own():
    """A thread of the kernel does it, for each page what unmapping costs anybody."""

    async def main(machine):
        hangs = await hang(machine)
        await ask(machine, hangs)
        await machine.sleep("4s")

    slow = run(slow_machine(latency={"pte_set_ns": 50_000}), main)
    fast = run(slow_machine(latency={"pte_set_ns": 50}), main)
    [slow_ns, fast_ns] = [
        done.log.named("finish_task_reaping")[0].t_ns - done.log.named("start_task_reaping")[0].t_ns
        for done in (slow, fast)
    ]
    assert slow_ns - fast_ns > 4000 * 49_000


def test_a_victim_that_dies_in_time_is_left_alone():
    """Its own exit frees everything; the reaper says nothing."""

    async def main(machine):
        large = await machine.spawn("large")
        await large.touch(await large.mmap(900 * PAGE), write=True)
        await ask(machine, large)
        assert await large.wait() == -9
        await machine.sleep("3s")

    done = run(small_machine(), main)
    assert log_of(done) == []
    assert not any(event.event in REAPING for event in done.log.events)


async def ask(machine, process):
    """Tell the OOM killer that a process found nothing to reclaim."""
    task = process._process.task
    request = OutOfMemory(GFP_HIGHUSER_MOVABLE, task.name, task.pid)
    return await machine.kernel.oom_killer.ask(request)


def test_after_it_another_victim_may_be_chosen():
    """What was reaped is counted on no more, though its process is still there."""

    async def main(machine):
        hangs = await hang(machine)
        other = await machine.spawn("other")
        await other.touch(await other.mmap(300 * PAGE), write=True)
        small = await machine.spawn("small")
        assert await ask(machine, small)
        assert await ask(machine, small)
        await machine.sleep("1900ms")
        assert await ask(machine, small)
        assert other.exit_status is None
        await machine.sleep("300ms")
        assert hangs.exit_status is None
        assert await ask(machine, small)
        assert await other.wait() == -9
        return free_pages(machine)

    assert run(slow_machine(), main).vm_events["oom_kill"] == 2


def test_an_exit_waits_until_the_reaper_is_done():
    """Page tables are not freed while the reaper walks them: as for mmap_lock."""

    async def main(machine):
        hangs = await hang(machine)
        await ask(machine, hangs)
        await machine.sleep("2s")
        while not machine.kernel.reaped_mms:
            await machine.sleep("1us")
        assert not hangs._process.has_ended()
        return await hangs.wait()

    # A page takes the reaper so long that the read is over first.
    done = run(slow_machine(latency={"pte_set_ns": 2_000_000}), main)
    told = [kept.event for kept in done.log.events]
    assert done.result == -9
    assert told.index("ks_process_exit") > told.index("finish_task_reaping")
