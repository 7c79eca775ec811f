"""What a workload may read and set of its machine and its processes."""

import pytest

from kernelsim.errors import ConfigError, ProcessEndedError, WorkloadError
from kernelsim.procfs.capture import capture
from kernelsim.procfs.meminfo import render_meminfo
from kernelsim.procfs.process import render_status
from tests.memory_sink import MemorySink
from tests.small_machine import OpenMachine, run, small_machine


def test_texts_of_proc_are_those_that_are_rendered():
    """Of the machine, of a tunable and of a process; other names are refused."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap("1M")
        await process.touch(area, write=True)
        snapshot = capture(machine.kernel)
        assert render_meminfo(snapshot) == machine.proc("meminfo")
        assert machine.proc("sys/vm/swappiness") == "60\n"
        assert render_status(snapshot.processes[0], nr_cpus=1) == process.proc("status")
        assert "Rss:                1024 kB\n" in process.proc("smaps")
        assert machine.proc(f"{process.pid}/maps") == process.proc("maps")
        for read in (machine.proc, process.proc):
            with pytest.raises(ConfigError, match="proc = 'nosuch'"):
                read("nosuch")
        await process.exit()
        with pytest.raises(ProcessEndedError):
            process.proc("status")

    run(small_machine(), main)


def test_counters_of_the_machine_are_those_of_vmstat():
    """By name, at this moment."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap("1M")
        before = machine.vmstat["pgfault"]
        await process.touch(area, write=True)
        return machine.vmstat["pgfault"] - before, machine.vmstat["nr_free_pages"]

    done = run(small_machine(), main)
    assert done.result[0] == 256
    assert done.result[1] > 0


def test_who_a_process_is_can_be_read_and_set():
    """Name, user, score and CPUs, as its own calls and writes to /proc would."""

    async def main(machine):
        process = await machine.spawn("p", cpu=[1, 0], oom_score_adj=5)
        assert "Cpus_allowed_list:\t0-1\n" in process.proc("status")
        assert process.oom_score_adj == 5
        process.name, process.oom_score_adj, process.uid = "q", -17, 1000
        await process.set_affinity(1)
        status = process.proc("status")
        assert "Name:\tq\n" in status
        assert "Uid:\t1000\t" in status
        assert "Cpus_allowed_list:\t1\n" in status
        assert machine.proc(f"{process.pid}/oom_score_adj") == "-17\n"
        for setting, value in (("name", ""), ("uid", -1), ("oom_score_adj", 1001)):
            with pytest.raises(ConfigError, match=setting):
                setattr(process, setting, value)
        for cpus in (2, [], "0", [0, -1], None):
            with pytest.raises(ConfigError, match="the machine has CPUs 0 to 1"):
                await process.set_affinity(cpus)

    run(small_machine(cpus=("0-1",)), main)


def test_locks_and_zones_say_what_was_waited_for_and_what_is_left():
    """Each lock by name; a zone by node and name."""

    async def main(machine):
        process = await machine.spawn("p")
        before = machine.zone(0, "DMA").free
        await process.touch(await process.mmap("1M"), write=True)
        zone, lock = machine.zone(0, "DMA"), machine.locks["node 0 DMA zone->lock"]
        assert before - zone.free >= 256
        assert 0 < zone.min <= zone.low <= zone.high < zone.managed
        assert (lock.nr_holds > 0, lock.nr_waits, lock.wait_ns) == (True, 0, 0)
        for nid, name in ((1, "DMA"), (0, "Nosuch"), ("0", "DMA")):
            with pytest.raises(ConfigError, match="must be a node and one of"):
                machine.zone(nid, name)

    run(small_machine(memory="8M"), main)


def test_programs_wait_for_each_other_in_a_queue():
    """In virtual time, by a name that says what for."""

    async def main(machine):
        queue, told = machine.wait_queue("the signal"), []

        async def waiter(_process):
            await queue.wait()
            told.append(machine.now_ns)

        process = await machine.spawn("waiter", waiter)
        await machine.sleep("5ms")
        queue.wake_all()
        await process.wait()
        return told

    (at_ns,) = run(small_machine(), main).result
    assert at_ns >= 5_000_000


def test_events_of_the_author_are_in_the_log():
    """With virtual time, the actor that runs, and the fields bound before."""
    log = MemorySink()
    machine = OpenMachine(small_machine(), sink=log)

    async def main(machine):
        trial = machine.log.bind(trial=3)
        await machine.sleep(7)
        trial.info("phase", number=1)

        async def program(_process):
            machine.log.info("inside")

        process = await machine.spawn("p", program)
        await process.wait()

    machine.run(main)
    (phase,), (inside,) = log.named("phase"), log.named("inside")
    assert (phase.t_ns, phase.actor, dict(phase.fields)) == (7, "main", {"trial": 3, "number": 1})
    assert inside.actor == "p-100/program"


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ("ks_fault", {}, "does not begin with ks_"),
        ("", {}, "does not begin with ks_"),
        ("mm_vmscan_kswapd_wake", {}, "is a tracepoint of the kernel"),
        ("phase", {"t_ns": 1}, "has a field t_ns already"),
    ],
)
def test_events_with_names_of_ours_are_refused(event, fields, said):
    """In one line, when they are logged."""

    async def main(machine):
        with pytest.raises(WorkloadError, match=said):
            machine.log.info(event, **fields)

    run(small_machine(), main)
