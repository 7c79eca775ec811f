"""Work that each CPU does itself: its worker gets the CPU, and who wants it sleeps until then."""

from tests.small_machine import run, small_machine


def test_every_cpu_gives_way_to_its_worker_and_the_writer_sleeps():
    """A write to stat_refresh: idle CPUs and a busy one run a worker each."""

    async def spin(process):
        region = await process.mmap("64K")
        while True:
            await process.touch(region, write=True, passes=100_000)

    async def main(machine):
        writer = await machine.spawn("writer", cpu=0)
        busy = await machine.spawn("busy", spin, cpu=1)
        await machine.sleep("20ms")
        processes = machine.kernel.processes
        tasks = [processes[each.pid].task for each in (writer, busy)]
        before = [(task.nvcsw, task.nivcsw) for task in tasks]
        switches = [cpu.state.nr_switches for cpu in machine.kernel.cpus]
        began_ns = machine.now_ns
        await writer.syscall("stat_refresh")
        took_ns = machine.now_ns - began_ns
        await busy.kill()
        after = [(task.nvcsw, task.nivcsw) for task in tasks]
        differ = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(after, before, strict=True)]
        ran = [
            cpu.state.nr_switches - nr
            for cpu, nr in zip(machine.kernel.cpus, switches, strict=True)
        ]
        return took_ns, differ, ran

    took_ns, (writer, busy), ran = run(small_machine(cpus=("0-2",)), main).result
    assert writer[0] >= 1
    assert busy == (0, 1)
    assert all(nr >= 2 for nr in ran)  # to the worker and away from it
    assert 3_000 <= took_ns < 1_000_000
