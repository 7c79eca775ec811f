"""mmap_lock: readers together, a writer alone, nobody overtakes; and tasks that race for pages."""

import pytest

from kernelsim.actors.core.mmap_lock import MmapLock
from kernelsim.check.machine import check_machine
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("V11")
TWO_CPUS = {"cpus": ("0-3",), "memory": "32M"}
NR_PAGES = 40


def test_readers_share_it_and_a_writer_waits_its_turn():
    """Readers that come after a waiting writer come in after it."""

    async def main(machine):
        lock, entered = MmapLock(machine.engine, 1), []

        def holder(name, delay_us, *, write):
            async def program(process):
                task = machine.kernel.processes[process.pid].task
                await process.sleep(delay_us * 1000)
                await task.get_cpu()
                async with lock.held(task, write=write):
                    assert lock.is_held_by(task)
                    entered.append((name, machine.now_ns // 100_000))
                    await task.compute(300_000)
                await task.put_cpu()

            return program

        plan = (("r1", 0, False), ("r2", 100, False), ("w", 200, True), ("r3", 250, False))
        handles = [
            await machine.spawn(name, holder(name, delay_us, write=write), cpu=number)
            for number, (name, delay_us, write) in enumerate(plan)
        ]
        for handle in handles:
            await handle.wait()
        return entered, machine.locks["mmap_lock"].nr_waits

    entered, nr_waits = run(small_machine(**TWO_CPUS), main).result
    assert [name for name, _ in entered] == ["r1", "r2", "w", "r3"]
    assert [at for _, at in entered] == [0, 1, 4, 7]
    assert nr_waits == 2


@pytest.mark.parametrize("kind", ["memory", "zero pages first", "a private file", "a shared file"])
def test_tasks_that_fault_on_the_same_pages_at_once(kind):
    """Each page is there once, and the frames of those that were slower are free again."""

    async def main(machine):
        process = await machine.spawn("p")
        how = {}
        if "file" in kind:
            how = {"fd": await process.open("/f"), "shared": kind == "a shared file"}
        region = await process.mmap(NR_PAGES * PAGE, **how)
        reads = kind == "zero pages first"

        def racer(number):
            async def program(thread):
                await thread.set_affinity(number)
                await thread.sleep(50_000 + number * 10)
                if reads:
                    await thread.touch(region)
                await thread.touch(region, write=True)

            return program

        threads = [await process.fork(racer(number), shares_vm=True) for number in range(3)]
        for thread in threads:
            assert await process.waitpid(thread) == 0
        assert check_machine(machine.kernel) == []
        faults = [thread.stats.pgfault for thread in threads]
        return faults, process.stats.rss_pages, (await process.touch(region, write=True)).minflt

    spec = small_machine(**TWO_CPUS, files={"/f": f"{NR_PAGES * PAGE}"})
    faults, rss, again = run(spec, main).result
    assert (rss, again) == (NR_PAGES, 0)
    assert sum(faults) > NR_PAGES  # they met


def test_a_mapping_that_goes_while_others_fault_on_it_ends_them():
    """Munmap waits for faults under way; who comes later gets SIGSEGV; what is freed is free."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(NR_PAGES * PAGE)

        async def program(thread):
            await thread.set_affinity(1)
            await thread.touch(region, write=True)

        thread = await process.fork(program, shares_vm=True)
        await process.sleep(5_000)
        await process.munmap(region)
        status = await process.waitpid(thread)
        assert check_machine(machine.kernel) == []
        return status, process.stats.rss_pages

    assert run(small_machine(**TWO_CPUS), main).result == (-11, 0)


def test_tasks_share_memory_that_does_not_fit():
    """Both fault on what is on its way to swap or back; nothing is lost or taken twice."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("14M")

        async def program(thread):
            await thread.touch(region, write=True, passes=2)

        threads = [await process.fork(program, shares_vm=True) for _ in range(2)]
        for thread in threads:
            assert await process.waitpid(thread) == 0
        return machine.vmstat["pswpin"] > 0

    assert run(small_machine(cpus=("0-1",), memory="16M", swap="64M"), main).result
