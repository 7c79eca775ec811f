"""Tests of the OOM killer: one victim at a time, what it reports, whom it spares."""

import pytest

from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.mm.core.vmstat import OOM_KILL
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from tests.small_machine import PAGE, run, small_machine


async def start(machine, policies=None, **sizes):
    """Start processes that each have so many pages."""
    processes = {}
    for name, nr_pages in sizes.items():
        processes[name] = await machine.spawn(name, mempolicy=(policies or {}).get(name))
        await processes[name].touch(await processes[name].mmap(nr_pages * PAGE), write=True)
    return processes


async def report_oom(machine, process, nodemask=None):
    """Tell the OOM killer that a process found nothing to reclaim."""
    task = process._process.task
    return await machine.kernel.oom_killer.ask(
        OutOfMemory(GFP_HIGHUSER_MOVABLE, task.name, task.pid, nodemask)
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
    assert done.machine.ended.state == "panic"
    assert done.machine.ended.detail == "System is deadlocked on memory"
    assert [line for _, line in done.machine.kernel.dmesg[-2:]] == [
        "Out of memory and no killable processes...",
        "Kernel panic - not syncing: System is deadlocked on memory",
    ]


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


def test_who_is_exiting_is_not_killed():
    """A process that frees its memory of its own accord is left alone; the next largest dies."""

    async def main(machine):
        processes = await start(machine, small=100, medium=500)

        async def program(process):
            await process.touch(await process.mmap(1500 * PAGE), write=True)

        large = await machine.spawn("large", program)
        while not large._process.has_ended():
            await machine.sleep("1us")
        assert large.pid in machine.kernel.processes  # its pages are being freed
        assert await report_oom(machine, processes["small"])
        assert await processes["medium"].wait() == -9
        return await large.wait()

    assert run(small_machine(), main).result == 0


def test_who_was_killed_by_somebody_else_is_neither_waited_for_nor_reported():
    """The largest is chosen; if it is dying anyway, its memory is counted on and that is all."""

    async def main(machine):
        processes = await start(machine, small=100, medium=500, large=900)
        await processes["large"].kill()
        assert await report_oom(machine, processes["small"])
        assert machine.kernel.dmesg == []
        assert await processes["large"].wait() == -9
        await processes["small"].kill()
        assert await report_oom(machine, processes["medium"])
        assert await processes["medium"].wait() == -9
        return int(machine.mem.vm_event[OOM_KILL])

    done = run(small_machine(), main)
    assert done.result == 1
    assert [event.fields["comm"] for event in done.log.named("mark_victim")] == ["large", "medium"]


def test_an_asker_that_is_dying_is_its_own_victim():
    """It gets the reserves to die with; nobody else is killed for it."""

    async def main(machine):
        processes = await start(machine, small=100, large=900)
        await processes["small"].kill()
        assert await report_oom(machine, processes["small"])
        assert processes["small"]._process.task.oom_victim
        assert await processes["small"].wait() == -9
        return processes["large"].exit_status, int(machine.mem.vm_event[OOM_KILL])

    assert run(small_machine(), main).result == (None, 0)


TWO_NODES = ("0", "1")


def test_a_bound_request_takes_a_task_of_its_nodes():
    """The largest lies elsewhere for sure, so the largest of those that may lie here is taken."""

    async def main(machine):
        policies = {"here": "bind:1", "small": "bind:1", "elsewhere": "bind:0"}
        processes = await start(machine, policies, small=100, here=500, elsewhere=900)
        assert await report_oom(machine, processes["small"], (1,))
        assert await processes["here"].wait() == -9
        return processes["elsewhere"].exit_status

    done = run(small_machine(cpus=TWO_NODES), main)
    lines = [line for _, line in done.machine.kernel.dmesg]
    assert done.result is None
    assert lines[-2].startswith(
        "oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,"
    )
    assert not any(line.endswith(" elsewhere") for line in lines)


def test_a_full_node_kills_who_is_bound_to_it():
    """A bound process that wants more than its node has dies though the other node is empty."""

    async def main(machine):
        processes = await start(machine, {"large": "bind:0"}, large=3000)
        bound = await machine.spawn("bound", mempolicy="bind:1")
        touched = await bound.touch(await bound.mmap("20M"), write=True)
        return touched.signal, processes["large"].exit_status

    done = run(small_machine(cpus=TWO_NODES), main)
    assert done.result == (9, None)
    assert done.vm_events["oom_kill"] == 1
    assert any(
        "CONSTRAINT_MEMORY_POLICY,nodemask=1," in line for _, line in done.machine.kernel.dmesg
    )


@pytest.mark.parametrize(
    ("mode", "nodemask", "words"),
    [
        (1, None, "Out of memory: system-wide panic_on_oom is enabled"),
        (1, (1,), None),
        (2, (1,), "Out of memory: compulsory panic_on_oom is enabled"),
    ],
)
def test_the_kernel_panics_instead_of_killing_when_told_so(mode, nodemask, words):
    """vm.panic_on_oom 1 spares machines whose request was confined to some nodes; 2 does not."""

    async def main(machine):
        processes = await start(machine, small=100, large=900)
        alive = await report_oom(machine, processes["small"], nodemask)
        await machine.sleep("1ms")
        return alive

    done = run(small_machine(cpus=TWO_NODES, sysctl={"vm.panic_on_oom": mode}), main)
    if words is None:
        assert (done.result, done.vm_events["oom_kill"]) == (True, 1)
    else:
        assert (done.machine.ended.detail, done.vm_events["oom_kill"]) == (words, 0)
        last = done.machine.kernel.dmesg[-1][1]
        assert last == f"Kernel panic - not syncing: {words}"


@pytest.mark.parametrize(("adj", "victim"), [(0, "small"), (-1000, "large")])
def test_the_allocating_task_is_killed_when_told_so(adj, victim):
    """vm.oom_kill_allocating_task; unless it must never be killed."""

    async def main(machine):
        machine.sysctl("vm.oom_kill_allocating_task", 1)
        processes = await start(machine, small=100, large=900)
        processes["small"]._process.oom_score_adj = adj
        assert await report_oom(machine, processes["small"])
        assert await processes[victim].wait() == -9

    done = run(small_machine(), main)
    line = done.machine.kernel.dmesg[-1][1]
    why = "Out of memory (oom_kill_allocating_task)" if adj == 0 else "Out of memory"
    assert line.startswith(f"{why}: Killed process ")
    assert done.vm_events["oom_kill"] == 1


def test_the_task_table_is_left_out_when_told_so():
    """vm.oom_dump_tasks=0; the other lines stay."""

    async def main(machine):
        machine.sysctl("vm.oom_dump_tasks", 0)
        processes = await start(machine, small=100, large=900)
        await report_oom(machine, processes["small"])

    lines = [line for _, line in run(small_machine(), main).machine.kernel.dmesg]
    assert lines[0].startswith("small invoked oom-killer:")
    assert "Mem-Info:" in lines
    assert "Tasks state (memory values in pages):" not in lines
    assert lines[-3] == "0 pages hwpoisoned"
    assert lines[-2].startswith("oom-kill:")
    assert lines[-1].startswith("Out of memory: Killed process ")
