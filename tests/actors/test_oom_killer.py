"""Tests of the OOM killer: one victim at a time, what it reports, whom it spares."""

from kernelsim.actors.oom_killer import OutOfMemory
from kernelsim.mm.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.vmstat import OOM_KILL
from tests.small_machine import PAGE, run, small_machine


async def start(machine, **sizes):
    """Start processes that each have so many pages."""
    processes = {}
    for name, nr_pages in sizes.items():
        processes[name] = await machine.spawn(name)
        await processes[name].touch(await processes[name].mmap(nr_pages * PAGE), write=True)
    return processes


async def report_oom(machine, process):
    """Tell the OOM killer that a process found nothing to reclaim."""
    task = process.actor.task
    return await machine.kernel.oom_killer.ask(
        OutOfMemory(GFP_HIGHUSER_MOVABLE, task.name, task.pid)
    )


def test_the_largest_dies_and_only_one_at_a_time():
    """While the victim is on its way out a second call kills nobody."""

    async def main(machine):
        processes = await start(machine, small=100, large=900, medium=500)
        assert await report_oom(machine, processes["small"])
        assert await report_oom(machine, processes["small"])
        assert machine.mem.vm_event[OOM_KILL] == 1
        assert await processes["large"].wait() == -9
        assert await report_oom(machine, processes["small"])
        assert await processes["medium"].wait() == -9
        return processes["small"].exit_status, int(machine.mem.vm_event[OOM_KILL])

    assert run(small_machine(), main).result == (None, 2)


def test_the_report_names_asker_tasks_and_victim():
    """In the kernel log and as a tracepoint."""

    async def main(machine):
        processes = await start(machine, small=100, large=900)
        await report_oom(machine, processes["small"])
        return processes["large"].pid

    done = run(small_machine(), main)
    lines = [line for _, line in done.machine.kernel.dmesg]
    assert lines[0].startswith("small invoked oom-killer: gfp_mask=")
    assert any(line.endswith(" small") for line in lines)
    assert any(line.endswith(" large") for line in lines)
    assert f"task=large,pid={done.result},uid=0" in lines[-2]
    assert lines[-1].startswith(f"Out of memory: Killed process {done.result} (large)")
    (event,) = done.log.named("mark_victim")
    assert (event.fields["pid"], event.fields["anon_rss"]) == (done.result, 3600)


def test_nobody_to_kill_is_a_panic():
    """The run ends with the kernel's words; the simulator has no bug."""

    async def main(machine):
        process = await machine.spawn("p", oom_score_adj=-1000)
        await process.touch(await process.mmap(PAGE), write=True)
        assert await report_oom(machine, process) is False
        await machine.sleep("1s")
        return "never"

    done = run(small_machine(), main)
    assert done.result is None
    assert done.machine.ended.state == "stopped"
    assert done.machine.ended.detail.startswith("kernel panic: Out of memory")


def test_swapped_pages_count_for_the_victim_too():
    """A process on swap is as large as it was."""

    async def main(machine):
        processes = await start(machine, first=3000, second=3500)
        for process in processes.values():
            assert process.stats.swap_pages > 0
        resident = {name: each.stats.rss_pages for name, each in processes.items()}
        total = {name: each.stats.swap_pages + resident[name] for name, each in processes.items()}
        assert total == {"first": 3000, "second": 3500}
        await report_oom(machine, processes["first"])
        return await processes["second"].wait()

    assert run(small_machine(swap="32M"), main).result == -9
